"""The page: source and edit in step, what was changed in sight, by keyboard, and no network."""

import dataclasses
import html
import json
import re
import shutil

import cv2
import fake_report
import numpy as np
import pytest
from playwright import sync_api

from vidregen_jax.media import video, video_writer
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.provenance import content_credentials
from vidregen_jax.reporting import page, proxy_video, stage_clock

COUNT, BITS = 100, 8
HEIGHT, WIDTH = 96, 192
FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync']
NASTY = '</script><script>document.title = "owned"</script><img src=x onerror=alert(1)>{{data}}'


SHOWN = 'document.getElementById("seek").valueAsNumber'
# What is read of the pictures; `pixels(id)` gives canvas, its size, and a function of a place.
PIXELS = """
  const pixels = (id) => {
    const canvas = document.getElementById(id), { width, height } = canvas;
    const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
    const colour = (x, y) => {
      const at = 4 * (Math.floor(y * height) * width + Math.floor(x * width));
      return Array.from(data.subarray(at, at + 3));
    };
    return { width, height, data, colour };
  };
"""
READ = '() => {' + PIXELS + """
  const read = ({ colour }) => [0, 1, 2, 3, 4, 5, 6, 7].reduce(
    (sum, bit) => sum + ((colour((bit + .5) / 8, .5)[0] > 128) << bit), 0);
  const told = parseInt(document.getElementById('frame').textContent.slice(6));
  return [read(pixels('source')), read(pixels('edit')), told];
}"""
CHANGED = '() => {' + PIXELS + """
  const before = pixels('edit');
  document.getElementById('reveal').click();
  const after = pixels('edit'), { width, height } = after, edge = Math.ceil(width / 320) + 2;
  const xs = [], ys = [];
  for (let y = edge; y < height - edge; y++) {
    for (let x = edge; x < width - edge; x++) {
      const i = 4 * (y * width + x);
      if ([0, 1, 2].some((c) => before.data[i + c] !== after.data[i + c])) {
        xs.push(x); ys.push(y);
      }
    }
  }
  const least = (v) => v.reduce((a, b) => Math.min(a, b));
  const most = (v) => v.reduce((a, b) => Math.max(a, b));
  return [least(xs), most(xs), least(ys), most(ys)].map((v) => v / width);
}"""
FOCUS = """() => {
  const on = document.activeElement, shows = on.type === 'radio' ? on.nextElementSibling : on;
  return on === document.body || getComputedStyle(shows).outlineStyle !== 'none';
}"""
WEAK = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r / 255) + .7152 * linear(g / 255)
    + .0722 * linear(b / 255);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
  };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const on = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (!text || !on.getClientRects().length) continue;
    const pair = [getComputedStyle(on).color].map(parse).concat([behind(on)]).map(light);
    const ratio = (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
    if (ratio < 4.5) found.push([text, ratio]);
  }
  return found;
}"""


def numbered(i, tint):
  """The frame's number as white blocks on a tinted ground, eight side by side."""
  image = np.full((HEIGHT, WIDTH, 3), tint, np.uint8)
  for bit in range(BITS):
    if i >> bit & 1:
      image[24:72, bit * WIDTH // BITS:(bit + 1) * WIDTH // BITS] = 255
  return image


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """A source and an edit of it, 25 frames a second, with other sounds."""
  folder = tmp_path_factory.mktemp('page')
  time = np.arange(4 * 16_000) / 16_000
  for name, tint, tone in (('source', (0, 0, 90), 440), ('edited', (0, 70, 0), 880)):
    video_writer.write_clip(folder / f'{name}.mp4', [numbered(i, tint) for i in range(COUNT)], 25,
                            0.3 * np.sin(2 * np.pi * tone * time).astype(np.float32), 16_000)
  return folder


def written(files, name, **changes):
  """A page in the folder."""
  report = fake_report.make('/home/ann/source.mp4', '/home/ann/<i>out "1"<i>.mp4', NASTY,
                            **changes)
  film = films.Film.of(video.probe(files / 'source.mp4'))
  # A crop around the middle of the picture, which moves to the right by a pixel a frame.
  affines = {i: np.array([(48., 0, 40 + i), (0, 48, 24)]) for a, b in report.regenerated_frames
             for i in range(a, b)}
  (files / name).write_bytes(page.make(film, files / 'edited.mp4', report, affines))
  return files / name


@pytest.fixture(scope='module')
def browser():
  path = shutil.which('chromium') or shutil.which('chromium-browser')
  if not path:
    pytest.skip('pages in a browser: there is no chromium')
  with sync_api.sync_playwright() as playwright:
    running = playwright.chromium.launch(executable_path=path, args=FLAGS)
    yield running
    running.close()


def opened(browser, path, **options):
  """The page in a window of its own; `page.asked` and `page.told` are what it did."""
  options = {'viewport': {'width': 1200, 'height': 900}} | options
  shown = browser.new_context(**options).new_page()
  shown.asked, shown.told = [], []
  shown.on('request', lambda request: shown.asked.append(request.url))
  shown.on('console', lambda message: shown.told.append(message.text))
  shown.on('pageerror', lambda error: shown.told.append(str(error)))
  shown.goto(path.as_uri())
  shown.wait_for_selector('.player:not([hidden])')
  return shown


@pytest.fixture(scope='module')
def shown(browser, files):
  return opened(browser, written(files, 'page.html'))


@pytest.fixture(autouse=True)
def from_the_first_span(request):
  """Every test finds the module's page as it was opened."""
  if 'shown' in request.fixturenames:
    shown = request.getfixturevalue('shown')
    shown.reload()
    shown.wait_for_selector('.player:not([hidden])')
    at(shown, 30)


def offers(shown, what):
  """Waits until the play button offers this: it follows the film, which takes its time."""
  for _ in range(100):
    if shown.get_attribute('#play', 'aria-label') == what:
      return
    shown.wait_for_timeout(50)
  raise AssertionError(f'the button does not come to offer {what}')


def at(shown, frame):
  """Waits until a frame of the page's film is shown; its policy leaves no other way to wait."""
  for _ in range(100):
    if shown.evaluate(SHOWN) == frame:
      return
    shown.wait_for_timeout(50)
  raise AssertionError(f'frame {frame} was awaited, {shown.evaluate(SHOWN)} is shown')


def numbers(shown):
  """The numbers of the frames that are seen, and that which is told, all at one moment."""
  return shown.evaluate(READ)


def test_it_asks_nothing_of_the_network_and_complains_of_nothing(shown, browser, files):
  fresh = opened(browser, files / 'page.html')
  at(fresh, 30)
  assert not fresh.told
  assert all(url.startswith(('file:', 'blob:')) for url in fresh.asked) and len(fresh.asked) == 2
  # And if something did get in, it could not.
  refused = fresh.evaluate('fetch("http://127.0.0.1:9/").then(() => "sent", (error) => error.name)')
  assert refused == 'TypeError' and any('Content Security Policy' in x for x in fresh.told)
  fresh.context.close()


def test_it_begins_at_the_first_span_and_plays_in_step(shown):
  assert numbers(shown) == [30, 30, 30]
  shown.keyboard.press('Space')
  seen = []
  for _ in range(4):
    shown.wait_for_timeout(300)
    seen.append(numbers(shown))
  shown.keyboard.press('Space')
  assert all(source == edit == told for source, edit, told in seen), seen
  assert seen[-1][0] > seen[0][0] >= 30


def test_every_frame_can_be_gone_to(shown):
  for frame in (0, 1, 44, 45, 99, 98, 31):
    shown.evaluate(f'''() => {{ const seek = document.getElementById('seek');
      seek.value = {frame}; seek.dispatchEvent(new Event('input')); }}''')
    for _ in range(100):
      if numbers(shown)[2] == frame:
        break
      shown.wait_for_timeout(50)
    assert numbers(shown) == [frame] * 3
    assert shown.inner_text('#clock') == f'0:0{frame // 25}.{frame % 25 * 40:03}'


def test_the_keyboard_does_it_all(shown):
  press = lambda *keys: [shown.keyboard.press(key) for key in keys]
  press('ArrowRight', 'ArrowRight')
  at(shown, 32)
  assert 'frame 32, regenerated' in shown.inner_text('#status')
  press('ArrowLeft')
  at(shown, 31)
  press('n')
  at(shown, 60)
  press('Shift+ArrowRight')
  at(shown, 85)
  press('p', 'p')
  at(shown, 30)
  press('p')
  assert shown.inner_text('#status') == 'No span before this one'
  press('r')
  assert shown.get_attribute('#reveal', 'aria-pressed') == 'true'
  assert shown.inner_text('#status') == 'Edit revealed'
  press('v', 'v')
  assert shown.is_checked('input[value=edit]') and shown.is_hidden('#source-figure')
  press('Space')
  offers(shown, 'Pause')
  press('Space')
  offers(shown, 'Play')
  # Who speaks to the computer can do without letters.
  shown.uncheck('#letters')
  press('r')
  assert shown.get_attribute('#reveal', 'aria-pressed') == 'true'
  # Space on a button is the button's, once.
  shown.focus('#reveal')
  press('Space')
  assert shown.get_attribute('#reveal', 'aria-pressed') == 'false'
  assert shown.get_attribute('#play', 'aria-label') == 'Play'


def test_all_is_reached_by_tab_and_its_focus_is_seen(shown):
  shown.evaluate('document.activeElement.blur()')
  reached = set()
  for _ in range(30):
    shown.keyboard.press('Tab')
    reached.add(shown.evaluate('document.activeElement.id || document.activeElement.localName'))
    assert shown.evaluate(FOCUS)
  assert reached >= {'near', 'reveal', 'seek', 'previous', 'back', 'play', 'forward', 'next',
                     'summary'}


def test_reveal_marks_made_frames_and_no_others(shown):
  picture = lambda: shown.evaluate('document.getElementById("edit").toDataURL()')

  def differs(frame):
    shown.evaluate(f'go({frame})')
    at(shown, frame)
    plain = picture()
    shown.click('#reveal')
    marked = picture()
    shown.click('#reveal')
    assert picture() == plain
    return plain != marked

  assert [differs(frame) for frame in (29, 30, 44, 45, 50, 60, 69, 70)] == [
    False, True, True, False, False, True, True, False]
  shown.evaluate('go(29)')
  at(shown, 29)
  assert shown.is_hidden('#mark')
  shown.keyboard.press('ArrowRight')
  at(shown, 30)
  assert shown.is_visible('#mark')


def test_the_outline_lies_where_the_face_is(shown):
  """The crop of frame 30 reaches from 70 to 118 across and from 24 to 72 down."""
  shown.evaluate('go(64)')  # one block is white, on the left of it
  at(shown, 64)
  changed = np.array(shown.evaluate(CHANGED)) * WIDTH
  edge = page.outline() * 48 + (104, 24)
  wanted = [edge[:, 0].min(), edge[:, 0].max(), edge[:, 1].min(), edge[:, 1].max()]
  np.testing.assert_allclose(changed, wanted, atol=1.5)


def test_the_wipe_shows_both(shown):
  shown.check('input[value=wipe]', force=True)
  colour = lambda x: shown.evaluate(f'() => {{ {PIXELS} return pixels("edit").colour({x}, .05); }}')
  (left, right) = colour(.1), colour(.9)
  assert left[2] > 60 > left[1] and right[1] > 45 > right[2]
  shown.focus('#wipe')
  shown.keyboard.press('End')
  assert colour(.9)[2] > 60


def test_what_users_wrote_is_text(shown):
  assert shown.title() != 'owned' and not shown.query_selector('img')
  assert shown.inner_text('.consent') == NASTY
  assert shown.inner_text('h1') == '<i>out "1"<i>.mp4'
  assert '/home/ann' not in shown.content()


def test_controls_have_names(shown):
  session = shown.context.new_cdp_session(shown)
  nodes = session.send('Accessibility.getFullAXTree')['nodes']
  of = lambda node, key: node.get(key, {}).get('value', '')
  controls = [node for node in nodes if not node['ignored'] and of(node, 'role') in (
    'button', 'radio', 'slider', 'link', 'image', 'DisclosureTriangle', 'group', 'region')]
  assert all(of(node, 'name') for node in controls if of(node, 'role') != 'group'), controls
  named = {of(node, 'name') for node in controls}
  assert {'Play', 'Frame back', 'Next span', 'Reveal edit', 'Frame', 'The edit', 'Wipe'} <= named
  assert shown.get_attribute('#seek', 'aria-valuetext') == '0:01.200, frame 30, regenerated'


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [400, 1200])
def test_text_stands_out_and_fits(scheme, width, browser, files, shown):
  fresh = opened(browser, files / 'page.html', color_scheme=scheme,
                 viewport={'width': width, 'height': 900})
  at(fresh, 30)
  fresh.click('summary')
  assert fresh.evaluate('document.documentElement.scrollWidth') <= width
  weak = fresh.evaluate(WEAK)
  assert not weak
  fresh.context.close()


def test_a_long_video_is_shown_around_its_spans(browser, files, monkeypatch):
  monkeypatch.setattr(proxy_video, '_WHOLE', 1.0)
  monkeypatch.setattr(proxy_video, '_CONTEXT', 0.2)
  fresh = opened(browser, written(files, 'parts.html'))
  at(fresh, 5)
  assert numbers(fresh) == [30, 30, 30]
  fresh.evaluate('go(24)')  # 25 to 49 come first, 55 to 74 then
  at(fresh, 24)
  assert numbers(fresh) == [49] * 3
  fresh.keyboard.press('ArrowRight')
  at(fresh, 25)
  assert numbers(fresh) == [55] * 3 and fresh.inner_text('#clock') == '0:02.200'
  assert 'holds 45 of 100 frames' in fresh.content()
  fresh.context.close()


def test_parts_are_what_changed_and_lie_within_bounds():
  times = np.arange(90_000) / 25
  part = lambda regenerated: proxy_video.choose(regenerated, times, 3600.0)
  assert part([(1000, 1010), (1100, 1120), (50_000, 50_010)]) == [(950, 1170), (49_950, 50_060)]
  whole = part([(0, 90_000)])
  assert whole == [(0, 7500), (82_500, 90_000)]
  many = part([(i, i + 10) for i in range(500, 89_000, 200)])
  assert 0 < sum(b - a for a, b in many) <= 600 * 25 and all(a < b for a, b in many)


def test_the_film_holds_both_sounds_and_its_frames_last_as_long(files):
  film = films.Film.of(video.probe(files / 'source.mp4'))
  proxy = proxy_video.make(film, files / 'edited.mp4', [(30, 45)])
  path = files / 'proxy.mp4'
  path.write_bytes(proxy.data)
  assert proxy.sounds == (True, True) and np.unique(np.diff(proxy.clock)).tolist() == [400]
  assert [round(float(f.time) * proxy_video.TICK)
          for f in video.frames(path)] == proxy.clock[:-1].tolist()
  from vidregen_jax.media.audio import waveform
  samples, rate, _ = waveform.read(path)
  for side, tone in zip(samples, (440, 880), strict=True):
    loudest = np.argmax(np.abs(np.fft.rfft(side[rate:3 * rate]))) / 2
    assert abs(loudest - tone) < 5


@pytest.mark.parametrize('turn', [0, 90, 180, 270])
def test_a_turned_picture_and_its_outlines_agree(turn):
  info = video.VideoInfo('', 320, 160, 25, 1 / 25, rotation=turn, sample_aspect_ratio=1.5)
  picture = np.zeros((160, 320, 3), np.uint8)
  picture[30:51, 200:221] = 255  # around 210 across and 40 down

  class Frame:
    def small(self, width, height):
      return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
  view, (width, height) = proxy_video._view(info, 120)
  turned = proxy_video._turned(Frame(), info, width, height)
  assert turned.shape == (height, width, 3)
  assert sorted((width, height)) == [120, 360] if turn % 180 == 0 else [40, 120]
  down, across = np.argwhere(turned[..., 0] > 128).mean(0)
  np.testing.assert_allclose(view @ (210, 40, 1), (across, down), atol=.6)


def test_the_film_has_a_budget(tmp_path, monkeypatch):
  noise = np.random.default_rng(0).integers(0, 255, (COUNT, HEIGHT, WIDTH, 3), np.uint8)
  video_writer.write_clip(tmp_path / 'noise.mp4', noise, 25, np.zeros(4 * 16_000, np.float32),
                          16_000)
  film = films.Film.of(video.probe(tmp_path / 'noise.mp4'))
  size = lambda: len(proxy_video.make(film, tmp_path / 'noise.mp4', [(30, 45)]).data)
  free = size()
  monkeypatch.setattr(proxy_video, '_BYTES', free // 4)
  # What is in the encoder's buffer at the end counts for a second of four here.
  assert size() < 1.25 * free // 4


def test_the_data_is_json_whatever_is_said(files):
  text = written(files, 'page.html').read_text()
  data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
  assert json.loads(data)['made'] == [[30, 45], [60, 70]]


@pytest.mark.parametrize(('credentials', 'words'), [
  (None, None),
  (('Trusted', 'Ann <b>', ()), '<p>Valid, signed by Ann &lt;b&gt;</p>'),
  (('Invalid', None, ('hash \u202emismatch<', )),
   '<p>Signed by nobody known, and not valid:</p><p>hash \\u202emismatch&lt;</p>')])
def test_what_was_wrong_with_the_credentials_of_the_source_is_said(credentials, words, files):
  brought = credentials and content_credentials.SourceCredentials(*credentials)
  source = fake_report.make('a.mp4', 'b.mp4').source
  text = written(files, 'credentials.html',
                 out='b\x1b[31m\u202e<i>.mp4',
                 source=dataclasses.replace(source, credentials=brought)).read_text()
  assert words is None or f'<dt>Credentials of the source</dt><dd>{words}</dd>' in text
  assert ('Credentials of the source' in text) == (words is not None)
  assert '<dt>Edited video</dt><dd><p>b\\x1b[31m\\u202e&lt;i&gt;.mp4</p>' in text


def test_nothing_that_a_report_holds_is_markup(files):
  nasty = '<img src=x onerror=alert(1)>'
  plain = fake_report.make('a.mp4', nasty)
  text = written(files, 'nasty.html', out=nasty, left_out=(nasty, ), why_all_are_encoded=nasty,
                 model={nasty: nasty}, sampler={nasty: nasty},
                 stages={nasty: stage_clock.Stage(1, 1)},
                 source=dataclasses.replace(plain.source, path=nasty, sha256=nasty),
                 content_credentials=content_credentials.Signature(nasty, nasty, True)).read_text()
  assert '<img' not in text and f'<h1>{html.escape(nasty)}</h1>' in text
