"""The app in a browser: drop, see, drag, choose, state consent, make, compare, download, and go."""

import json
import pathlib
import shutil
import signal
import threading
import urllib.parse

import numpy as np
import pytest
import tiny_system
from playwright import sync_api

from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import waveform
from vidregen_jax.provenance import content_credentials

pytest.importorskip('gradio', reason='the app: there is no gradio')
from vidregen_jax.app import __main__ as program  # noqa: E402
from vidregen_jax.app import edits, server  # noqa: E402

FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync']
CONSENT = 'a rendered person; nobody had to be asked'
WORD = (.7, 1.1)  # seconds of the clip that are said anew


class Gated(edits.Studio):
  """A studio whose jobs wait at their first frame while the gate is closed.

  Nothing is fitted to the face, which takes most of the time.
  """

  def __init__(self, checkpoint):
    super().__init__(checkpoint)
    self.gate = threading.Event()
    self.gate.set()

  def _edit(self, request, out, teacher, show, **options):
    def gated(seen):
      show(seen)
      assert not seen.picture or self.gate.wait(60)

    return super()._edit(request, out, teacher, gated, fit_face=False, **options)


@pytest.fixture(scope='module')
def material(tmp_path_factory, pack_folder):
  """A clip, a new soundtrack with one other word, that word, two people, and what is no video."""
  folder = tmp_path_factory.mktemp('material')
  clip, other = (pack_folder / 'test' / f'test_{number}.mp4' for number in ('00021', '00000'))
  shutil.copy(clip, folder / 'clip.mp4')
  samples, rate, _ = waveform.read(clip)
  word = waveform.resample(*waveform.read(other)[:2], rate)[:, round(.5 * rate):round(.9 * rate)]
  waveform.write_wav(folder / 'word.wav', word, rate)
  waveform.write_wav(folder / 'new.wav', waveform.splice(samples, rate, word, rate, *WORD), rate)
  # As long as the clip, so that nothing is compiled anew.
  pairs = zip(video.frames(clip), video.frames(other), strict=False)
  video_writer.write_clip(
    folder / 'two.mp4', [np.concatenate([one.image, two.image], 1) for one, two in pairs], 25,
    samples[0], rate)
  (folder / 'clip.json').write_text(json.dumps([
    {'word': word, 'start': start, 'end': stop} for word, start, stop in (
      ('jetzt', .2, .5), ('noch', .7, .9), ('einmal', .9, 1.2), ('ja', 1.6, 1.8))]))
  (folder / 'no <b>video.mp4').write_text('this is no video')
  return folder


@pytest.fixture(scope='module')
def studio(tmp_path_factory, whisper_folder):
  return Gated(tiny_system.write(tmp_path_factory.mktemp('system'), whisper_folder))


@pytest.fixture(scope='module')
def running(studio, tmp_path_factory):
  folder = tmp_path_factory.mktemp('served')
  with server.Server(studio, folder, '127.0.0.1', 0, 1) as serving:
    serving.folder = folder
    yield serving
    studio.gate.set()


@pytest.fixture(scope='module')
def browser():
  path = shutil.which('chromium') or shutil.which('chromium-browser')
  if not path:
    pytest.skip('the app in a browser: there is no chromium')
  with sync_api.sync_playwright() as playwright:
    chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
    yield chromium
    chromium.close()


def opened(browser, running, **options):
  """The app in a window of its own; `page.asked` and `page.told` are what it did."""
  context = browser.new_context(**{'viewport': {'width': 1200, 'height': 900}} | options)
  page = context.new_page()
  page.set_default_timeout(60_000)
  page.asked, page.told = [], []
  page.on('request', lambda request: page.asked.append(request.url))
  page.on('pageerror', lambda error: page.told.append(str(error)))
  page.on('console', lambda message: message.type == 'error' and page.told.append(message.text))
  page.goto(running.address)
  page.wait_for_selector('#video input[type=file]', state='attached')
  return page


def give(page, where, *paths):
  page.set_input_files(f'#{where} input[type=file]', paths)


def filled(browser, running, material, name='clip.mp4', **options):
  """A page with a video, a new sound, the spans and the faces in them, and consent."""
  page = opened(browser, running, **options)
  give(page, 'video', material / name)
  page.wait_for_selector('#given dd')
  give(page, 'sound', material / 'new.wav')
  page.wait_for_selector('.faces label')
  page.fill('#consent textarea', CONSENT)
  return page


@pytest.fixture(scope='module')
def page(browser, running, material):
  return filled(browser, running, material)


def edges(page):
  """(start, stop) of the spans, as a screen reader hears them."""
  read = lambda part: page.eval_on_selector_all(
    f'.wave-edge.{part}', '(all) => all.map((one) => Number(one.ariaValueNow))')
  return list(zip(read('start'), read('stop'), strict=True))


def made(page, button):
  """Presses a button and returns the heading of what comes of it."""
  page.evaluate('document.querySelector("#result h3")?.remove()')
  page.click(f'#{button}')
  return page.inner_text('#result h3')


def fetched(page, ending):
  """The bytes of a download, by the end of its name."""
  link = page.locator(f'.files a[download$="{ending}"]')
  with page.expect_download() as download:
    link.click()
  return pathlib.Path(download.value.path()).read_bytes()


def kept(running):
  """The files that lie on disk for all pages."""
  return sorted(path for path in running.folder.rglob('*') if path.is_file())


def pages(running):
  """The folders of the pages that are open."""
  return list((running.folder / 'sessions').iterdir())


def test_where_the_sounds_differ_is_found_and_shown(page):
  (start, stop), = edges(page)
  assert abs(start - WORD[0]) < .15 and abs(stop - WORD[1]) < .15
  assert page.locator('.wave-lane:visible').count() == 2
  assert page.inner_text('#note') == 'The sounds differ in 1 span.'
  assert page.locator('.faces label').count() == 1


def test_nothing_is_asked_of_the_network_and_nobody_elsewhere_may_ask(page, running):
  host = urllib.parse.urlsplit(running.address).netloc
  asked = [url for url in page.asked if not url.startswith(('data:', 'blob:'))]
  assert len(asked) > 5 and {urllib.parse.urlsplit(url).netloc for url in asked} == {host}
  assert not page.told
  assert page.evaluate('fetch("http://127.0.0.1:9/").then(() => "sent", (error) => error.name)'
                       ) == 'TypeError'
  assert 'Content Security Policy' in page.told.pop(0)
  page.told.clear()
  answer = page.request.get(running.address, headers={'Host': 'elsewhere.example'})
  assert answer.status == 400


def test_without_consent_nothing_is_made_and_one_line_says_so(page, running):
  before = kept(running)
  page.fill('#consent textarea', '  ')
  page.click('#final')
  assert page.inner_text('#alert .mistake').startswith('State consent first')
  assert page.locator('#alert .mistake').count() == 1 and kept(running) == before
  page.fill('#consent textarea', CONSENT)


def test_a_span_is_dragged_by_its_edge_and_by_its_body(page):
  (start, stop), = edges(page)
  track = page.locator('.wave-track').bounding_box()
  a_second = track['width'] / 2.12

  def drag(selector, seconds):
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + seconds * a_second, y, steps=4)
    page.mouse.up()

  drag('.wave-edge.stop', .2)
  (first, last), = edges(page)
  assert first == start and abs(last - stop - .2) < .02
  drag('.wave-body', -.3)
  (first, last), = edges(page)
  assert abs(first - start + .3) < .02 and abs(last - stop + .1) < .02
  page.fill('.wave-rows [data-part=start]', f'{WORD[0]}')
  page.fill('.wave-rows [data-part=stop]', f'{WORD[1]}')
  page.keyboard.press('Tab')
  assert edges(page) == [WORD]


def test_a_draft_and_its_final_are_of_the_same_spans_and_seed(page):
  page.fill('#seed input', '7')
  assert made(page, 'draft') == 'Draft'
  draft = json.loads(fetched(page, '.json'))
  assert page.locator('.files a').count() == 2  # it has no page
  assert page.locator('#result video').evaluate('(film) => film.error') is None
  assert made(page, 'final') == 'Final'
  final = json.loads(fetched(page, '.json'))
  for name in ('spans', 'seed', 'consent', 'face', 'references'):
    assert draft[name] == final[name]
  assert final['seed'] == 7 and final['consent']['statement'] == CONSENT
  assert draft['sampler']['steps'] == 1


def test_the_final_can_be_revealed_wiped_and_downloaded(page, tmp_path):
  frame = page.frame_locator('#result iframe')
  frame.locator('#reveal').click()
  assert frame.locator('#reveal').get_attribute('aria-pressed') == 'true'
  frame.locator('input[value=wipe]').check(force=True)
  assert frame.locator('#wipe').is_visible()
  out = tmp_path / 'clip_edited.mp4'
  out.write_bytes(fetched(page, '.mp4'))
  assert video.probe(out).frame_count == 53
  assert content_credentials.of_source(out).state != 'Invalid'
  assert fetched(page, '.html').startswith(b'<!doctype html>')
  assert not page.told


def test_stills_are_shown_before_anything_is_made(page):
  assert made(page, 'preview') == 'Stills'
  page.wait_for_function('document.querySelector("#result img").naturalWidth > 1000')


def test_frames_appear_while_they_are_made_and_cancelling_leaves_nothing(page, running, studio):
  before = [path for path in kept(running) if 'draft' not in path.parts]
  studio.gate.clear()
  page.click('#draft')
  page.wait_for_selector('.job img:visible')
  assert page.inner_text('.job p') == 'Making the frames'
  page.click('#cancel')
  page.wait_for_selector('text=Cancelling')
  studio.gate.set()
  page.wait_for_selector('text=Cancelled: nothing of it was kept.')
  assert kept(running) == before
  assert made(page, 'draft') == 'Draft'  # and the next one can be made


def test_a_second_page_waits_for_its_turn_and_goes_with_all_its_files(
    browser, running, material, page, studio):
  other = filled(browser, running, material)
  count = len(pages(running))
  studio.gate.clear()
  page.click('#draft')
  page.wait_for_selector('.job:visible')
  other.click('#draft')
  assert other.inner_text('.job >> text=before this one') == 'Waiting: 1 job is before this one'
  other.close()
  for _ in range(200):
    if len(pages(running)) < count:
      break
    page.wait_for_timeout(50)
  assert len(pages(running)) == count - 1
  assert all(path.is_relative_to(running.folder / 'sessions') for path in kept(running))
  studio.gate.set()
  assert page.inner_text('#result h3') == 'Draft'


def test_a_wrong_file_is_told_in_one_line_and_the_page_goes_on(browser, running, material):
  page = opened(browser, running)
  for name, words in (('no <b>video.mp4', 'not a media file'), ('word.wav', '')):
    give(page, 'video', material / name)
    page.wait_for_selector('#given .mistake')
    assert words in page.inner_text('#given .mistake')
    assert page.locator('#given b').count() == 0
    assert str(running.folder) not in page.inner_text('body')
  give(page, 'video', material / 'clip.mp4')
  page.wait_for_selector('#given dd')
  assert page.locator('#given .mistake').count() == 0
  (material / 'large.mp4').write_bytes(bytes(1_100_000))
  give(page, 'video', material / 'large.mp4')
  page.wait_for_selector('text=maximum allowed size')
  page.context.close()


def test_the_keyboard_does_it_all(browser, running, material):
  page = opened(browser, running)
  press = lambda *keys: [page.keyboard.press(key) for key in keys]

  def tab_to(selector):
    for _ in range(60):
      press('Tab')
      if page.evaluate('(selector) => document.activeElement.matches(selector)', selector):
        return
    raise AssertionError(f'Tab does not come to {selector}')

  for where, name in (('video', 'clip.mp4'), ('sound', 'new.wav')):
    page.once('filechooser', lambda chooser, path=material / name: chooser.set_files(path))
    page.wait_for_timeout(200)  # until the browser knows that somebody waits for it
    tab_to(f'#{where} button')
    press('Enter')
    page.wait_for_selector(f'#given dd >> text={name}')
  page.wait_for_selector('.faces label')
  tab_to('.wave-edge.start')
  (start, stop), = edges(page)
  press('ArrowLeft', 'Shift+ArrowLeft')
  assert edges(page) == [(pytest.approx(start - .44, abs=.011), stop)]
  tab_to('.wave-edge.stop')
  press('ArrowRight')
  assert edges(page)[0][1] == pytest.approx(stop + .04, abs=.011)
  press('Delete')
  assert edges(page) == []
  press('Home', *['Shift+ArrowRight'] * 2, 'Enter')  # focus has gone to the line
  assert edges(page) == [(.8, 1.2)]
  press('ArrowLeft')  # and on to the new span's start
  assert edges(page) == [(.76, 1.2)]
  for part, time in zip(('start', 'stop'), WORD, strict=True):
    tab_to(f'.wave-rows [data-part={part}]')
    page.keyboard.type(f'{time}')
  tab_to('.wave-rows button')
  assert edges(page) == [WORD]
  tab_to('.faces input')
  press('Space')
  tab_to('#consent textarea')
  page.keyboard.type(CONSENT)
  tab_to('#draft')
  press('Enter')
  assert page.inner_text('#result h3, #alert .mistake') == 'Draft'
  tab_to('.files a')
  page.context.close()


def test_a_word_of_the_transcript_is_pressed_and_changes(browser, running, material):
  page = filled(browser, running, material)
  page.click('.wave-rows button')
  assert edges(page) == []
  give(page, 'transcript', material / 'clip.mp4')
  page.wait_for_selector('#given .mistake')
  assert page.inner_text('#given .mistake').startswith('clip.mp4: its kind is not known')
  give(page, 'transcript', material / 'clip.json')
  page.wait_for_selector('.wave-words button')
  page.click('.wave-rows button')  # the span that was found again
  page.click('text=noch')
  (start, stop), = edges(page)
  assert .7 - .121 <= start <= .7 and .9 <= stop <= .9 + .121
  page.click('text=einmal')  # which comes right after
  (first, last), = edges(page)
  assert first == start and 1.2 <= last <= 1.2 + .121
  assert page.locator('.wave-words [aria-pressed=true]').count() == 2
  page.click('text=noch')
  assert edges(page) == []
  page.context.close()


def test_of_two_people_the_one_that_is_chosen_changes(browser, running, material):
  page = opened(browser, running)
  give(page, 'video', material / 'two.mp4')
  page.wait_for_selector('#given dd')
  page.check('#way input >> nth=1')
  give(page, 'pieces', material / 'word.wav')
  page.wait_for_selector('.faces label >> nth=1')
  page.check('.faces input >> nth=1', force=True)
  for part, time in zip(('start', 'stop'), WORD, strict=True):
    page.fill(f'.wave-rows [data-part={part}]', f'{time}')
  page.keyboard.press('Tab')
  page.fill('#consent textarea', CONSENT)
  made(page, 'draft')
  report = json.loads(fetched(page, '.json'))
  assert report['face']['chosen'] == [2] and len(report['face']['faces']) == 2
  assert report['spans'][0] == pytest.approx(WORD, abs=.04)
  page.context.close()


def test_it_fits_a_phone(browser, running, material):
  page = filled(browser, running, material, viewport={'width': 400, 'height': 800})
  assert page.evaluate('document.documentElement.scrollWidth') <= 400
  page.context.close()


def test_ending_the_program_removes_everything(studio, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(edits, 'Studio', lambda checkpoint: studio)
  monkeypatch.setattr(program.tempfile, 'gettempdir', lambda: str(tmp_path))
  seen = []

  def end():
    seen.extend(path.name for path in tmp_path.iterdir())
    signal.raise_signal(signal.SIGINT)

  monkeypatch.setattr(server.Server, 'wait', lambda self, seconds: end())
  assert program.main(['--checkpoint', 'any', '--port', '0']) == 130
  assert len(seen) == 1 and not list(tmp_path.iterdir())
  out, err = capsys.readouterr()
  assert out.startswith('the app is at http://127.0.0.1:') and 'its files are removed' in err


def test_a_port_that_is_taken_is_told_in_one_line(running, studio, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(edits, 'Studio', lambda checkpoint: studio)
  monkeypatch.setattr(program.tempfile, 'gettempdir', lambda: str(tmp_path))
  port = str(urllib.parse.urlsplit(running.address).port)
  assert program.main(['--checkpoint', 'any', '--port', port]) == 2
  assert 'give another --port' in capsys.readouterr().err and not list(tmp_path.iterdir())
