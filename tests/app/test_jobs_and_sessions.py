"""Jobs run one at a time and can be cancelled; a session's files are its own, and go with it."""

import threading

import pytest

from vidregen_jax import errors
from vidregen_jax.app import __main__ as program
from vidregen_jax.app import job_queue, sessions


def test_jobs_run_one_at_a_time_in_order_and_know_their_place():
  begun, go, order = threading.Event(), threading.Event(), []

  def first(job):
    begun.set()
    assert go.wait(10)
    order.append(1)

  with job_queue.Queue() as queue:
    jobs = [queue.put(first), queue.put(lambda job: order.append(2)),
            queue.put(lambda job: order.append(3))]
    assert begun.wait(10)
    assert [queue.before(job) for job in jobs] == [0, 1, 2]
    go.set()
    assert jobs[2].wait(10)
  assert order == [1, 2, 3]


def test_a_job_that_waits_is_cancelled_at_once_and_one_that_runs_at_its_next_sign():
  begun, go = threading.Event(), threading.Event()

  def work(job):
    begun.set()
    assert go.wait(10)
    job.show('a frame')
    raise AssertionError('it went on')

  with job_queue.Queue() as queue:
    running, waiting = queue.put(work), queue.put(lambda job: 'made')
    assert begun.wait(10)
    waiting.cancel()
    assert waiting.has_ended and waiting.was_cancelled and waiting.result is None
    running.cancel()
    assert not running.has_ended
    go.set()
    assert running.wait(10) and running.was_cancelled and not running.mistake


def test_leaving_the_queue_cancels_what_runs_and_what_waits():
  begun = threading.Event()

  def endless(job):
    begun.set()
    while True:
      job.show('again')

  with job_queue.Queue() as queue:
    jobs = [queue.put(endless), queue.put(endless)]
    assert begun.wait(10)
  assert all(job.was_cancelled for job in jobs)


def test_neither_a_mistake_nor_a_fault_ends_the_queue(capsys):
  def mistaken(job):
    raise errors.UserError('give another file')

  with job_queue.Queue() as queue:
    jobs = [queue.put(mistaken), queue.put(lambda job: 1 / 0), queue.put(lambda job: 'made')]
    assert jobs[2].wait(10)
  assert jobs[0].mistake == 'give another file' and jobs[2].result == 'made'
  assert 'ZeroDivisionError' in jobs[1].mistake and '\n' not in jobs[1].mistake
  assert 'Traceback' in capsys.readouterr().err


@pytest.fixture
def upload(tmp_path):
  path = tmp_path / 'upload' / 'clip.mp4'
  path.parent.mkdir()
  path.write_bytes(b'film')
  return path


def test_files_are_found_by_their_sessions_token_alone(tmp_path, upload):
  opened = sessions.Sessions(tmp_path)
  one, other = opened.of('one'), opened.of('other')
  name = one.keep(upload).relative_to(one.folder).as_posix()
  assert opened.file(one.token, name).read_bytes() == b'film' and not upload.exists()
  (one.folder / '.hidden').touch()
  (one.folder / 'link').symlink_to('/etc/passwd')
  for token, wanted in ((other.token, name), ('', name), (one.token, 'uploads'),
                        (one.token, f'../{other.token}'), (one.token, '../../etc/passwd'),
                        (one.token, '/etc/passwd'), (one.token, 'link'), (one.token, '.hidden'),
                        (other.token, f'../{one.token}/{name}')):
    assert opened.file(token, wanted) is None, wanted


def test_a_closed_session_leaves_nothing_even_if_its_job_still_runs(tmp_path, upload):
  opened, begun, go = sessions.Sessions(tmp_path), threading.Event(), threading.Event()
  session = opened.of('one')
  session.keep(upload)

  def work(job):
    begun.set()
    assert go.wait(10)
    (session.folder / 'late').touch()
    job.show('a frame')

  with job_queue.Queue() as queue:
    session.job = queue.put(work)
    assert begun.wait(10)
    opened.close('one')
    assert session.folder.exists()  # the job could not end well without it
    go.set()
    assert session.job.wait(10)
  assert session.job.was_cancelled and not session.folder.exists()
  assert opened.of('one') is not session  # a new one


def test_mistakes_call_files_by_their_names(tmp_path, upload):
  session = sessions.Sessions(tmp_path).of('one')
  path = session.keep(upload)
  assert session.line(errors.UserError(f'{path}: is\nno film')) == 'clip.mp4: is no film'


def test_an_upload_that_is_gone_is_told_in_a_line(tmp_path):
  session = sessions.Sessions(tmp_path).of('one')
  with pytest.raises(errors.UserError, match='clip.mp4 did not arrive'):
    session.keep(tmp_path / 'clip.mp4')


def test_without_gradio_one_line_says_how_to_get_it(monkeypatch, capsys):
  monkeypatch.setattr(program.importlib.util, 'find_spec', lambda name: None)
  assert program.main([]) == 2
  assert "pip install 'vidregen_jax[app]'" in capsys.readouterr().err
