"""The app: a page in a browser that edits videos with this computer's own model.

  python -m vidregen_jax.app

  __main__      the program: flags, and its end
  server        what answers the browser, and what it may load
  page          the page and what its buttons do
  views         what it shows, and the values of its components (waveform, faces, job: .js)
  look          its colours
  edits         what the page asks of the package
  sessions      the files of each open page
  job_queue     one job at a time
"""
