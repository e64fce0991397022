// What a job shows while it runs: its words, how far it is, the newest frame. `views.job` is the
// value. Only the words are live for screen readers; numbers change too often.

const $ = (selector) => element.querySelector(selector);
const set = (node, text) => { if (node.textContent !== text) node.textContent = text; };

function refresh() {
  const { words = '', numbers = '', done = 0, total = 0, running = false, picture = '' } =
    props.value ?? {};
  $('.job').hidden = !words;
  set($('[role=status]'), words);
  set($('.job-numbers'), numbers);
  const bar = $('progress');
  bar.hidden = !running;
  if (total) Object.assign(bar, { max: total, value: done });
  else bar.removeAttribute('value');
  const frame = $('img');
  frame.hidden = !picture;
  if (picture && frame.src !== picture) frame.src = picture;
}

watch('value', refresh);
refresh();
