// The waveform: both sounds, and the spans as boxes that are moved by pointer and by keys.
// `element`, `props` and `watch` are Gradio's; the value is what `views.wave` returns.

const $ = (selector) => element.querySelector(selector);
const root = $('.wave'), track = $('.wave-track'), cursor = $('.wave-cursor');
const video = $('video'), audio = $('audio');
const NEAR = 0.1;  // seconds between the spans of words that are one
const NEW = 0.4;  // seconds of a span that is added
const SLACK = 4;  // pixels that a pointer moves in a click
let shown = null;  // the id of the value that is shown
let spans = [], boxes = [], rows = [], words = [], at = 0, zoom = 1, hears = 'old', held = 0;

const data = () => props.value;
const step = () => 1 / data().rate;
const length = () => data().end - data().begin;
const share = (time) => `${100 * (time - data().begin) / length()}%`;
const told = (time) => `${time.toFixed(2)} s`;
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);
const make = (name, attributes, ...inside) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...inside);
  return made;
};
const say = (text) => { $('[role=status]').textContent = text; };
const name = (i) => {
  const piece = (data().pieces ?? {})[spans[i].piece];
  return piece ? `${i + 1} ${piece}` : `${i + 1}`;
};

// Spans.

// What the server reads. Kept in order; returns where the span at `i` went.
function commit(i = -1) {
  const moved = spans[i];
  spans.sort((a, b) => a.start - b.start);
  props.value = { ...data(), spans: spans.map((span) => ({ ...span })) };
  draw();
  return spans.indexOf(moved);
}

function add(start, stop = start + NEW) {
  if (data().pieces) return say('A piece of sound is added where files are dropped');
  stop = Math.min(stop, data().end);
  const span = { start: clamp(start, data().begin, stop - step()), stop };
  spans.push(span);
  const i = commit(spans.length - 1);
  say(`Span ${i + 1} added, ${told(span.start)} to ${told(stop)}`);
  return i;
}

function remove(i) {
  const [gone] = spans.splice(i, 1);
  commit();
  cursor.focus();
  say(`Span removed, ${told(gone.start)} to ${told(gone.stop)}`);
}

// Moves an edge, or with 'body' all of a span, to where its edge or its start should be.
function move(i, part, time) {
  const span = spans[i], { begin, end } = data();
  if (part === 'start') span.start = clamp(time, begin, span.stop - step());
  if (part === 'stop') span.stop = clamp(time, span.start + step(), end);
  if (part === 'body') {
    const long = span.stop - span.start;
    span.start = clamp(time, begin, end - long);
    span.stop = span.start + long;
  }
}

// Words.

const within = (word) => spans.findIndex(({ start, stop }) => {
  const middle = (word.start + word.stop) / 2;
  return start <= middle && middle < stop;
});

// Changes a word, with the words beside it that change too; or leaves it and them as they are. Where
// pieces replace words, the piece that was last held is put over it.
function choose(word) {
  let i = within(word);
  if (data().pieces) {
    if (i < 0 && spans.length) {
      Object.assign(spans[Math.min(held, spans.length - 1)], { start: word.start, stop: word.stop });
      held = commit(Math.min(held, spans.length - 1));
    }
  } else if (i >= 0) {
    spans.splice(i, 1);
    commit();
  } else {
    const beside = spans.filter(
      ({ start, stop }) => start < word.stop + NEAR && word.start - NEAR < stop);
    const joined = {
      start: Math.min(word.start, ...beside.map(({ start }) => start)),
      stop: Math.max(word.stop, ...beside.map(({ stop }) => stop)),
    };
    spans = [...spans.filter((span) => !beside.includes(span)), joined];
    commit();
  }
  i = within(word);
  go(word.start);
  say(i < 0 ? `${word.text} stays` : `${word.text} changes, span ${name(i)}`);
}

function write() {
  words = data().said.map((word) => {
    const button = make('button', { type: 'button' }, word.text);
    button.addEventListener('click', () => choose(word));
    return button;
  });
  $('.wave-words').replaceChildren(...words.flatMap((word) => [word, ' ']));
  $('.wave-words').hidden = !words.length;
}

function box(i) {
  const edge = (part) => make('button', {
    type: 'button', class: `wave-edge ${part}`, role: 'slider', 'data-part': part,
  });
  const body = make('button', { type: 'button', class: 'wave-body', 'data-part': 'body' });
  const made = make('div', { class: 'wave-span' }, edge('start'), body, edge('stop'));
  $('.wave-spans').append(made);
  return made;
}

function row(i) {
  const number = (part) => {
    const input = make('input', { type: 'number', step: '0.01', 'data-part': part });
    input.addEventListener('change', () => {
      const k = rows.indexOf(made);
      if (Number.isFinite(input.valueAsNumber)) move(k, part, input.valueAsNumber);
      commit(k);
    });
    return input;
  };
  const button = make('button', { type: 'button' }, 'Remove');
  button.addEventListener('click', () => remove(rows.indexOf(made)));
  const made = make('li', {}, make('span', { class: 'wave-number' }), number('start'), 'to',
    number('stop'), 's', button);
  $('.wave-rows').append(made);
  return made;
}

function draw() {
  while (boxes.length > spans.length) { boxes.pop().remove(); rows.pop().remove(); }
  while (boxes.length < spans.length) {
    boxes.push(box(boxes.length));
    rows.push(row(rows.length));
  }
  spans.forEach((span, i) => {
    const said = `Span ${name(i)}`, { begin, end } = data();
    boxes[i].style.left = share(span.start);
    boxes[i].style.width = `${100 * (span.stop - span.start) / length()}%`;
    boxes[i].querySelector('.wave-body').textContent = name(i);
    boxes[i].querySelector('.wave-body').setAttribute('aria-label',
      `${said}, ${told(span.start)} to ${told(span.stop)}: arrows move it, Delete removes it`);
    for (const part of ['start', 'stop']) {
      const edge = boxes[i].querySelector(`.${part}`);
      edge.setAttribute('aria-label', `${said}, ${part === 'start' ? 'start' : 'end'}`);
      edge.setAttribute('aria-valuemin', begin.toFixed(2));
      edge.setAttribute('aria-valuemax', end.toFixed(2));
      edge.setAttribute('aria-valuenow', span[part].toFixed(2));
      edge.setAttribute('aria-valuetext', told(span[part]));
      const input = rows[i].querySelector(`[data-part=${part}]`);
      input.value = span[part].toFixed(2);
      input.min = begin;
      input.max = end;
      input.setAttribute('aria-label', `${said}, ${part === 'start' ? 'start' : 'end'} in seconds`);
    }
    rows[i].querySelector('.wave-number').textContent = name(i);
    rows[i].querySelector('button').setAttribute('aria-label', `Remove span ${name(i)}`);
  });
  words.forEach((word, i) => word.setAttribute('aria-pressed', within(data().said[i]) >= 0));
  cursor.style.left = share(at);
  cursor.setAttribute('aria-valuemin', data().begin.toFixed(2));
  cursor.setAttribute('aria-valuemax', data().end.toFixed(2));
  cursor.setAttribute('aria-valuenow', at.toFixed(2));
  cursor.setAttribute('aria-valuetext', told(at));
  $('.wave-clock').textContent = `${told(at)} of ${told(data().end)}`;
}

// The sounds and the time below them.

function path(lane, values) {
  const svg = $(`[data-lane=${lane}] svg`), high = (v) => Math.max(v, 1).toFixed(0);
  svg.closest('.wave-lane').hidden = !values.length;
  svg.setAttribute('viewBox', `0 -104 ${Math.max(values.length, 1)} 208`);
  const above = values.map((v, x) => `L${x} -${high(v)}L${x + 1} -${high(v)}`);
  const below = values.map((v, x) => `L${x + 1} ${high(v)}L${x} ${high(v)}`).reverse();
  svg.querySelector('path').setAttribute('d', `M0 0${above.join('')}${below.join('')}Z`);
}

function axis() {
  const wide = $('.wave-scroll').clientWidth * zoom || 600;
  const least = 70 * length() / wide;
  const every = [.1, .2, .5, 1, 2, 5, 10, 30, 60, 300, 600].find((x) => x >= least) ?? 1800;
  const marks = [];
  const last = data().end - 30 * length() / wide;  // whose label has room
  for (let t = Math.ceil(data().begin / every) * every; t <= last; t += every) {
    const minutes = Math.floor(t / 60), rest = (t - 60 * minutes).toFixed(every < 1 ? 1 : 0);
    const mark = make('span', {}, minutes ? `${minutes}:${rest.padStart(2, '0')}` : `${rest} s`);
    mark.style.left = share(t);
    marks.push(mark);
  }
  $('.wave-axis').replaceChildren(...marks);
  for (const part of [track, $('.wave-axis')]) part.style.width = `${100 * zoom}%`;
}

function enlarge(by) {
  zoom = clamp(zoom * by, 1, Math.max(length() / 2, 1));
  axis();
  const scroll = $('.wave-scroll');
  const place = (at - data().begin) / length() * scroll.clientWidth * zoom;
  scroll.scrollLeft = place - scroll.clientWidth / 2;
}

// Hearing and seeing.

function go(time) {
  at = clamp(time, data().begin, data().end);
  video.currentTime = at;
  if (!audio.paused) audio.currentTime = at;
  draw();
}

function toggle() {
  if (!video.paused) return video.pause();
  if (at >= data().end - step()) go(data().begin);
  video.muted = hears === 'new';
  if (hears === 'new') {
    audio.currentTime = at;
    audio.play();
  }
  video.play();
}

function follow() {
  if (video.paused) return;
  at = clamp(video.currentTime, data().begin, data().end);
  draw();
  requestAnimationFrame(follow);
}

function whilePlaying(playing) {
  $('[data-do=play]').textContent = playing ? 'Pause' : 'Play';
  if (playing) follow(); else audio.pause();
}

// By pointer.

const timeAt = (event) => {
  const area = track.getBoundingClientRect();
  return data().begin + length() * clamp((event.clientX - area.left) / area.width, 0, 1);
};

track.addEventListener('pointerdown', (event) => {
  if (event.button) return;
  const grip = event.target.closest('[data-part]'), from = event.clientX;
  let i = grip ? boxes.indexOf(grip.parentElement) : -1, part = grip?.dataset.part;
  const pressed = timeAt(event), start = i < 0 ? 0 : spans[i].start;
  if (i >= 0) held = i;
  let moved = false;
  track.setPointerCapture(event.pointerId);
  const drag = (now) => {
    if (!moved && Math.abs(now.clientX - from) < SLACK) return;
    if (i < 0 && !data().pieces) {
      i = add(pressed, pressed + step());
      part = 'stop';
    }
    moved = true;
    if (i < 0) return;
    // A new span may be drawn to the left, too.
    if (!grip && timeAt(now) < pressed) { move(i, 'start', timeAt(now)); spans[i].stop = pressed; }
    else move(i, part, part === 'body' ? start + timeAt(now) - pressed : timeAt(now));
    draw();
  };
  const drop = () => {
    track.removeEventListener('pointermove', drag);
    if (moved && i >= 0) {
      const k = commit(i);
      say(`Span ${name(k)}, ${told(spans[k].start)} to ${told(spans[k].stop)}`);
    }
    if (!moved) go(i < 0 ? pressed : spans[i].start);
  };
  track.addEventListener('pointermove', drag);
  track.addEventListener('pointerup', drop, { once: true });
  (grip ?? cursor).focus();
  event.preventDefault();
});

// By keys.

track.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const grip = event.target.closest('[data-part]');
  const i = grip ? boxes.indexOf(grip.parentElement) : -1, part = grip?.dataset.part;
  if (i >= 0) held = i;
  const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key]
    * step() * (event.shiftKey ? 10 : 1);
  const from = i < 0 ? at : part === 'stop' ? spans[i].stop : spans[i].start;
  const to = by ? from + by
    : event.key === 'Home' ? data().begin : event.key === 'End' ? data().end : null;
  if (to !== null) {
    if (i < 0) { video.pause(); go(to); }
    else {
      move(i, part, to);
      const k = commit(i);
      boxes[k].querySelector(`[data-part=${part}]`).focus();
      go(part === 'stop' ? spans[k].stop : spans[k].start);
    }
  } else if (['Delete', 'Backspace'].includes(event.key) && i >= 0) remove(i);
  else if (event.key === 'Enter' && i < 0) {
    const k = add(at);
    if (k !== undefined) boxes[k].querySelector('.start').focus();
  } else if (event.key === ' ') toggle();
  else return;
  event.preventDefault();
});

for (const [what, call] of Object.entries({
  play: toggle, in: () => enlarge(2), out: () => enlarge(.5),
  add: () => {
    const k = add(at);
    if (k !== undefined) boxes[k].querySelector('.start').focus();
  },
})) $(`[data-do=${what}]`).addEventListener('click', call);

const choices = [...element.querySelectorAll('input[type=radio]')];
choices.forEach((input) => {
  input.name = `hear-${Math.random()}`.slice(0, 12);
  input.addEventListener('change', () => {
    hears = input.value;
    choices.forEach((other) => { other.checked = other === input; });
    if (!video.paused) { video.pause(); toggle(); }
  });
});
choices[1].name = choices[0].name;
video.addEventListener('play', () => whilePlaying(true));
video.addEventListener('pause', () => whilePlaying(false));

function refresh() {
  root.hidden = !data();
  if (!data() || data().id === shown) return;
  shown = data().id;
  spans = data().spans.map((span) => ({ ...span }));
  [zoom, hears, at] = [1, 'old', spans[0]?.start ?? data().begin];
  video.src = data().video;
  if (data().sound) audio.src = data().sound;
  choices[0].checked = true;
  choices[0].closest('fieldset').hidden = !data().sound;
  $('[data-do=add]').hidden = Boolean(data().pieces);
  write();
  video.addEventListener('loadedmetadata', () => { video.currentTime = at; }, { once: true });
  path('old', data().old);
  path('new', data().new);
  axis();
  draw();
}

new ResizeObserver(() => { if (data()) axis(); }).observe($('.wave-scroll'));
watch('value', refresh);
refresh();
