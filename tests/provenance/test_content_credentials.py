"""Content Credentials: signing changes no picture, and whoever changes one is found out."""

import dataclasses
import hashlib
import http.server
import json
import os
import resource
import shutil
import signal
import threading

import av
import fake_report
import pytest

from vidregen_jax import inspect
from vidregen_jax.inspect import main as inspect_main
from vidregen_jax.provenance import certificates, consent, content_credentials
from vidregen_jax.reporting import edit_report


@pytest.fixture(scope='session')
def clip(pack_folder):
  return sorted((pack_folder / 'test').glob('*.mp4'))[0]


def sign(source, out, page=None, **changes):
  """Signs a file as an edit of a source, with what would be written beside it; gives the report."""
  report = fake_report.make(source, out, **changes)
  credentials = content_credentials.of_source(source)
  report = dataclasses.replace(
    report, source=dataclasses.replace(report.source, credentials=credentials),
    content_credentials=content_credentials.signature(out, certificates.local()))
  sidecar = content_credentials.sign(out, out, source, report.statement(), certificates.local(),
                                     page)
  if sidecar:
    out.with_suffix('.c2pa').write_bytes(sidecar)
  report = dataclasses.replace(report, sha256=hashlib.sha256(out.read_bytes()).hexdigest())
  out.with_suffix('.json').write_text(json.dumps(report.to_json()))
  return report


@pytest.fixture
def signed(clip, tmp_path):
  out = tmp_path / 'my out.mp4'
  shutil.copy(clip, out)
  sign(clip, out)
  return out


def packets(path):
  with av.open(str(path)) as container:
    return [(p.stream_index, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux()]


def test_packets_stay_and_the_file_plays(signed, clip):
  assert packets(signed) == packets(clip)
  with av.open(str(signed)) as one, av.open(str(clip)) as other:
    for a, b in zip(one.decode(), other.decode(), strict=True):
      assert a.pts == b.pts and (a.to_ndarray() == b.to_ndarray()).all()


def test_what_was_done_is_signed(signed, clip):
  verdict = inspect(signed)
  assert verdict.valid and verdict.state == 'Trusted'
  assert verdict.vouched_by == 'this computer'
  assert verdict.report == 'my out.json'
  opened, edited = verdict.actions
  assert (opened['action'], edited['action']) == ('c2pa.opened', 'c2pa.edited')
  assert edited['digitalSourceType'].endswith('/compositeWithTrainedAlgorithmicMedia')
  times = [region['time'] for region in edited['changes'][0]['region']]
  assert [(float(t['start']), float(t['end'])) for t in times] == [(1.2, 1.8), (2.4, 2.8)]
  assert verdict.ingredients == [
    {'title': clip.name, 'relationship': 'parentOf', 'problems': []}]
  edit = verdict.edit
  assert edit['consent']['statement'] == 'Ann Lee, who is shown, agreed'
  assert edit['model'] == {'codec': '5c' * 32, 'generator': '5d' * 32}
  assert edit['source']['sha256'] == '5a' * 32
  # What is given away with a video holds no folder of this computer.
  assert b'some where' not in signed.read_bytes() and str(clip.parent).encode() not in (
    signed.read_bytes())


def test_a_consent_file_stays_private(clip, tmp_path):
  out = tmp_path / 'out.mp4'
  shutil.copy(clip, out)
  sign(clip, out, consent=consent.Consent('ab' * 32, file='/home/ann/ann.json'))
  assert inspect(out).edit['consent'] == {'sha256': 'ab' * 32}
  assert b'ann.json' not in out.read_bytes()


@pytest.mark.parametrize('where', [0.3, 0.6, 0.9])
def test_a_changed_byte_is_found(where, signed):
  data = bytearray(signed.read_bytes())
  pictures = data.index(b'mdat')
  data[pictures + int(where * (len(data) - pictures))] ^= 1
  signed.write_bytes(data)
  verdict = inspect(signed)
  assert not verdict.valid and verdict.state == 'Invalid'
  assert any('mismatch' in problem for problem in verdict.problems)
  assert inspect_main([str(signed)]) == 1


def test_another_report_is_found(signed, capsys):
  path = signed.with_suffix('.json')
  report = json.loads(path.read_text())
  path.write_text(json.dumps(report | {'seed': 7, 'sha256': '0' * 64}))
  assert inspect_main([str(signed)]) == 1
  output = capsys.readouterr().out
  assert 'differs from what was signed: seed' in output
  assert 'differs from what was signed: sha256' in output
  path.unlink()
  assert inspect_main([str(signed), '--json']) == 0
  assert json.loads(capsys.readouterr().out)['report'] is None


def test_who_vouches(signed, tmp_path, monkeypatch):
  root = tmp_path / 'root.pem'
  root.write_bytes(certificates.local().root)
  monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path / 'another computer'))
  verdict = inspect(signed)
  assert verdict.valid and verdict.state == 'Valid' and verdict.vouched_by is None
  assert inspect(signed, trust=[root]).vouched_by == 'an authority that --trust names'
  assert not (tmp_path / 'another computer').exists()


def test_an_edit_of_an_edit_remembers_the_first(signed, tmp_path):
  out = tmp_path / 'again.mov'
  shutil.copy(signed, out)
  sign(signed, out)
  verdict = inspect(out)
  assert verdict.valid and verdict.ingredients[0]['title'] == signed.name
  assert out.read_bytes().count(b'vidregen_jax.edit') > signed.read_bytes().count(
    b'vidregen_jax.edit')


def test_what_cannot_hold_credentials_has_them_beside_it(clip, tmp_path):
  out = tmp_path / 'out.mkv'
  with av.open(str(clip)) as source, av.open(str(out), 'w') as copy:
    stream = copy.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(video=0):
      if packet.dts is not None:
        packet.stream = stream
        copy.mux(packet)
  before = out.read_bytes()
  report = sign(out, out)
  assert out.read_bytes() == before and report.sha256 == hashlib.sha256(before).hexdigest()
  assert inspect(out).valid and inspect(out).where == 'out.c2pa'
  out.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
  assert not inspect(out).valid
  out.with_suffix('.c2pa').unlink()
  assert inspect_main([str(out)]) == 1


def opaque(path, content):
  """A file of a container that cannot hold credentials; C2PA asks no more of it than its bytes."""
  path.write_bytes(content * 1000)
  return path


def test_the_credentials_beside_a_source_are_remembered_too(clip, tmp_path):
  first, second = opaque(tmp_path / 'first.mkv', b'one'), opaque(tmp_path / 'second.mkv', b'two')
  sign(clip, first)
  assert content_credentials.of_source(first) == content_credentials.SourceCredentials(
    'Trusted', certificates.local().name, ())
  sign(first, second)
  verdict = inspect(second)
  assert verdict.valid and verdict.ingredients == [
    {'title': 'first.mkv', 'relationship': 'parentOf', 'problems': []}]
  # The whole store of the first is in that of the second, its own assertion too.
  assert second.with_suffix('.c2pa').read_bytes().count(b'vidregen_jax.edit') > (
    first.with_suffix('.c2pa').read_bytes().count(b'vidregen_jax.edit'))


def broken_video(signed, tmp_path):
  data = bytearray(signed.read_bytes())
  data[data.index(b'mdat') + 2000] ^= 1
  signed.write_bytes(data)
  return signed, 'mismatch'


def broken_beside(signed, tmp_path):
  source = opaque(tmp_path / 'source.mkv', b'one')
  sign(signed, source)
  source.write_bytes(source.read_bytes() + b'more')
  return source, 'hash'


def damaged_store(signed, tmp_path):
  data = bytearray(signed.read_bytes())
  at = data.index(b'c2pa.signature') + 100
  data[at:at + 4000] = bytes(4000)
  signed.write_bytes(data)
  return signed, ''


def damaged_beside(signed, tmp_path):
  source = opaque(tmp_path / 'source.mkv', b'one')
  source.with_suffix('.c2pa').write_bytes(b'nothing')
  return source, 'damaged and cannot be read'


@pytest.mark.parametrize('make', [broken_video, broken_beside, damaged_store, damaged_beside])
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_broken_credentials_of_a_source_are_told_by_the_edit(make, suffix, signed, clip, tmp_path,
                                                             capsys):
  source, cause = make(signed, tmp_path)
  assert inspect_main([str(source)]) == 1
  out = tmp_path / f'again{suffix}'
  shutil.copy(clip, out)
  report = sign(source, out)
  brought = report.source.credentials
  assert brought.state == 'Invalid' and any(cause in problem for problem in brought.problems)
  verdict = inspect(out)
  assert verdict.valid and verdict.edit['source']['credentials'] == (
    dataclasses.asdict(brought) | {'problems': list(brought.problems)})
  capsys.readouterr()
  assert inspect_main([str(out)]) == 0
  assert f'its own credentials were not valid: {brought.problems[0]}'[:60] in (
    capsys.readouterr().out)


@pytest.mark.parametrize('change', [
  {'face': {'rule': 'another'}}, {'fade': 1.0}, {'left_out': ['nothing']}, {'more': 1},
  {'encoded_frames': []}, {'seed': 1}, {'frames': 100.5}, {'out': 'elsewhere.mp4'},
  {'content_credentials': {'signer': 'Ann Lee'}}, {'source': {}}, {'source': 7}])
def test_a_change_to_anything_in_the_report_is_found(change, signed):
  path = signed.with_suffix('.json')
  report = json.loads(path.read_text())
  path.write_text(json.dumps(report, indent=None))
  assert inspect(signed).valid, 'only its layout was changed'
  path.write_text(json.dumps(report | change))
  problem, *_ = inspect(signed).problems
  assert 'my out.json differs from what was signed' in problem


def test_what_was_measured_while_writing_is_not_signed_and_said_not_to_be(signed):
  path = signed.with_suffix('.json')
  path.write_text(json.dumps(json.loads(path.read_text()) | {'seconds': 7}))
  verdict = inspect(signed)
  assert verdict.valid and verdict.not_compared == ['stages', 'seconds', 'peak_memory_mb']
  assert {'fade', 'consent', 'sha256', 'signer', 'frames_without_a_face'} <= set(
    verdict.compared)


@pytest.mark.parametrize('data', [b'{', b'\xff', b'[' * 100_000, b'{"seed": 1, "seed": 1}'])
def test_a_damaged_report_is_a_finding_and_no_mistake(data, signed):
  signed.with_suffix('.json').write_bytes(data)
  assert 'my out.json is not JSON' in inspect(signed).problems[0]


def test_another_page_is_found(clip, tmp_path):
  out, page = tmp_path / 'out.mp4', b'<p>sha256 ' + content_credentials.NO_DIGEST.encode() + b'</p>'
  shutil.copy(clip, out)
  report = sign(clip, out, page)
  written = page.replace(content_credentials.NO_DIGEST.encode(), report.sha256.encode())
  out.with_suffix('.html').write_bytes(written)
  verdict = inspect(out)
  assert verdict.valid and verdict.page == 'out.html' and 'out.html' in verdict.compared
  for other in (written.replace(b'<p>', b'<p> '), page, written + b' ', b''):
    out.with_suffix('.html').write_bytes(other)
    assert 'out.html is not the page' in inspect(out).problems[0]
  out.with_suffix('.html').unlink()
  assert inspect(out).valid, 'a page may be thrown away'


def test_a_page_that_nobody_signed_is_said_to_be_that(signed):
  signed.with_suffix('.html').write_text('mine')
  verdict = inspect(signed)
  assert verdict.valid and verdict.page is None and 'my out.html' in verdict.not_compared


@pytest.mark.parametrize('count', [4_800, 50_000])
def test_any_number_of_spans_is_signed(count, clip, tmp_path, capsys):
  out = tmp_path / 'out.mp4'
  shutil.copy(clip, out)
  sign(clip, out, spans=tuple(edit_report.TimeSpan(i / 2, i / 2 + .25) for i in range(count)),
       regenerated_frames=tuple(edit_report.FrameRange(12 * i, 12 * i + 6) for i in range(count)))
  verdict = inspect(out)
  assert verdict.valid and f'in {count} spans within' in verdict.actions[1]['changes'][0][
    'description']
  assert inspect_main([str(out)]) == 0
  assert max(map(len, capsys.readouterr().out.splitlines())) < 2000
  path = out.with_suffix('.json')
  report = json.loads(path.read_text())
  report['spans'][count // 2][1] += .01
  path.write_text(json.dumps(report))
  assert 'differs from what was signed: spans' in inspect(out).problems[0]


def test_what_a_file_is_called_steers_no_terminal_and_is_signed(clip, tmp_path, capsys):
  source = tmp_path / os.fsdecode(b'a\x1b[31m\xe9\xe2\x80\xae.mp4')
  out = tmp_path / 'b\x1b]0;c\x07\n.mp4'
  shutil.copy(clip, source)
  shutil.copy(clip, out)
  sign(source, out, words='it\u202eis\nso')
  assert inspect_main([str(out)]) == 0
  output = capsys.readouterr().out
  assert all(c.isprintable() or c == '\n' for c in output)
  assert 'a\\x1b[31m\\xe9\\u202e.mp4' in output and 'it\\u202eis\\nso' in output
  assert inspect_main([str(out), '--json']) == 0
  output = capsys.readouterr().out
  assert output.isascii() and json.loads(output)['valid']


@pytest.mark.parametrize(('argv', 'status', 'cause'), [
  (['{clip}'], 1, 'no Content Credentials'),
  (['absent.mp4'], 2, 'no such file'),
  (['{text}'], 2, 'cannot be read'),
  (['{clip}', '--trust', '{text}'], 2, 'holds no certificate'),
  ([], 2, '--help'),
])
def test_a_mistake_is_one_line(argv, status, cause, clip, tmp_path, capsys):
  text = tmp_path / 'text.mp4'
  text.write_text('no video')
  assert inspect_main([part.format(clip=clip, text=text) for part in argv]) == status
  output = capsys.readouterr()
  assert cause in (output.out if status == 1 else output.err)
  assert status == 1 or len(output.err.splitlines()) == 1


def test_a_full_disk_leaves_the_file_as_it_was(clip, tmp_path, monkeypatch):
  monkeypatch.setenv('TMPDIR', str(tmp_path))
  out = tmp_path / 'out.mp4'
  shutil.copy(clip, out)
  limit = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (out.stat().st_size + 100, limit[1]))
  try:
    with pytest.raises(OSError, match='too large'):
      sign(clip, out)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
  assert out.read_bytes() == clip.read_bytes() and list(tmp_path.iterdir()) == [out]


def test_ctrl_c_waits_for_the_signature(tmp_path, monkeypatch):
  monkeypatch.setenv('TMPDIR', 'before')
  done = False
  with pytest.raises(KeyboardInterrupt), content_credentials._undisturbed(tmp_path):
    os.kill(os.getpid(), signal.SIGINT)
    assert os.environ['TMPDIR'] == str(tmp_path)
    done = True
  assert done and os.environ['TMPDIR'] == 'before'
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_asked_of_the_network(clip, tmp_path):
  requests = []

  class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      requests.append(self.path)
      self.send_error(404)

  with http.server.HTTPServer(('127.0.0.1', 0), Server) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # A file whose credentials are said to be elsewhere.
    far, out = tmp_path / 'far.mp4', tmp_path / 'out.mp4'
    statement = fake_report.make(clip, far).statement()
    builder = content_credentials._builder(content_credentials.manifest(far, statement) | {
      'ingredients': [{'title': 'a', 'relationship': 'parentOf', 'label': 'source'}]})
    builder.set_no_embed()
    builder.set_remote_url(f'http://127.0.0.1:{server.server_port}/credentials')
    with open(clip, 'rb') as old, open(far, 'w+b') as new:
      builder.sign(content_credentials._signer(certificates.local()), 'video/mp4', old, new)
    assert b'/credentials' in far.read_bytes()
    shutil.copy(clip, out)
    sign(far, out)
    assert inspect(out).valid and inspect_main([str(far)]) != 0
    server.shutdown()
  assert not requests
