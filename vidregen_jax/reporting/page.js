'use strict';
// Source and edit lie side by side in one small film, so they cannot drift apart: each frame of it
// is drawn on two canvases. A frame is named by its number in the film; `parts` says which frame
// of the video that is.

const data = JSON.parse(document.getElementById('data').textContent);
const $ = (id) => document.getElementById(id);
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const clock = new Uint32Array(bytes(data.clock).buffer);     // n + 1, in ticks
const affine = new Int16Array(bytes(data.affine).buffer);    // 6 each, in 1/16 pixels
const count = clock.length - 1;

const video = document.createElement('video');
const canvases = { source: $('source'), edit: $('edit') };
const state = {
  frame: 0, view: 'both', reveal: false, near: false, sound: data.sounds[1] ? 'new' : 'off',
};
let seeking = false, wanted = null, listening = null;

// Frames, times and spans.

const partOf = (k) => data.parts.findLast((part) => part.first <= k);
const inVideo = (k) => partOf(k).start + k - partOf(k).first;
const seconds = (k) => partOf(k).time + (clock[k] - clock[partOf(k).first]) / data.tick;
const inFilm = (frame) => {
  const part = data.parts.find((p) => frame >= p.start && frame < p.stop);
  return part && part.first + frame - part.start;
};
const within = (rows, frame) => rows.some(([a, b]) => a <= frame && frame < b);
// Frames of the video to frames of the film; what is not shown is left out.
const shown = (rows) => data.parts.flatMap((p) => rows
  .map(([a, b]) => [Math.max(a, p.start), Math.min(b, p.stop)]).filter(([a, b]) => a < b)
  .map(([a, b]) => [p.first + a - p.start, p.first + b - p.start]));
const made = shown(data.made);
// The made frames are numbered on through all spans, as their affines are.
const madeFrames = made.flatMap(([a, b]) => Array.from({ length: b - a }, (_, i) => a + i));
const spanStarts = data.made.map(([a]) => inFilm(a)).filter((k) => k !== undefined);

function frameAt(time) {
  const tick = time * data.tick + 0.5;
  let low = 0, high = count - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (clock[middle] <= tick) low = middle; else high = middle - 1;
  }
  return low;
}

function written(time) {
  const whole = Math.round(time * 1000);
  const padded = (number, digits) => String(Math.floor(number)).padStart(digits, '0');
  const rest = `${padded(whole % 60000 / 1000, 2)}.${padded(whole % 1000, 3)}`;
  return `${padded(whole / 60000, 1)}:${rest}`;
}

// Drawing.

const matrix = (i) => Array.from(affine.subarray(6 * i, 6 * i + 6), (x) => x / 16);
const place = ([a, b, c, d, e, f], [x, y]) => [a * x + b * y + c, d * x + e * y + f];

function nearestMade(k) {
  if (!madeFrames.length) return null;
  let best = 0;
  for (let i = 1; i < madeFrames.length; i++) {
    if (Math.abs(madeFrames[i] - k) < Math.abs(madeFrames[best] - k)) best = i;
  }
  return best;
}

// What of a picture is seen: all of it, or a square around the face.
function seenOf(k) {
  const i = state.near ? nearestMade(k) : null;
  if (i === null) return [0, 0, data.width, data.height];
  const corners = [[0, 0.15], [1, 0.15], [0, 1.05], [1, 1.05]].map((p) => place(matrix(i), p));
  const xs = corners.map((p) => p[0]), ys = corners.map((p) => p[1]);
  const side = Math.min(Math.max(...xs) - Math.min(...xs), data.width, data.height);
  const at = (values, limit) => Math.min(Math.max(
    (Math.min(...values) + Math.max(...values) - side) / 2, 0), limit - side);
  return [at(xs, data.width), at(ys, data.height), side, side];
}

function paint(canvas, half, [x, y, w, h], part = 1) {
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  const visible = part * w;
  if (visible > 0) {
    context.drawImage(video, half * data.width + x, y, visible, h,
      0, 0, part * canvas.width, canvas.height);
  }
}

function outline(canvas, k, [x, y, w, h], filled) {
  const i = madeFrames.indexOf(k);
  if (i < 0) return;
  const context = canvas.getContext('2d'), scale = canvas.width / w;
  const tint = getComputedStyle(document.documentElement).getPropertyValue('--tint').trim();
  context.save();
  context.beginPath();
  for (const point of data.outline) {
    const [px, py] = place(matrix(i), point);
    context.lineTo((px + 0.5 - x) * scale, (py + 0.5 - y) * scale);
  }
  context.closePath();
  context.fillStyle = tint;
  if (filled) { context.globalAlpha = 0.25; context.fill(); context.globalAlpha = 1; }
  // A dark line below the bright one: it is seen on any skin and any background.
  const width = Math.max(1.5, canvas.width / 320);
  for (const [style, wide] of [['#000a', 2 * width], [tint, width]]) {
    context.strokeStyle = style;
    context.lineWidth = wide;
    context.stroke();
    if (filled) context.strokeRect(0, 0, canvas.width, canvas.height);
  }
  context.restore();
}

function draw() {
  const k = state.frame, seen = seenOf(k), split = $('wipe').valueAsNumber / 100;
  document.querySelector('.stage').style.setProperty('--aspect', seen[2] / seen[3]);
  for (const [name, canvas] of Object.entries(canvases)) {
    if (canvas.parentElement.hidden) continue;
    const wide = Math.round(canvas.clientWidth * devicePixelRatio) || seen[2];
    const high = Math.round(wide * seen[3] / seen[2]);
    if (canvas.width !== wide || canvas.height !== high) {
      canvas.width = wide;
      canvas.height = high;
    }
    paint(canvas, name === 'edit' ? 1 : 0, seen);
    if (state.reveal) outline(canvas, k, seen, name === 'edit');
    if (state.view === 'wipe') {
      paint(canvas, 0, seen, split);
      const context = canvas.getContext('2d');
      context.fillStyle = '#fff';
      context.fillRect(split * canvas.width - 1, 0, 2, canvas.height);
    }
  }
}

function tell(text) { $('status').textContent = text; }

function describe(k) {
  const frame = inVideo(k);
  return `${written(seconds(k))}, frame ${frame}` + (within(data.made, frame) ? ', regenerated'
    : within(data.faceless, frame) ? ', no face found'
    : within(data.encoded, frame) ? ', encoded anew' : '');
}

function refresh() {
  const k = state.frame, frame = inVideo(k);
  $('seek').value = k;
  $('seek').setAttribute('aria-valuetext', describe(k));
  $('clock').textContent = written(seconds(k));
  $('frame').textContent = `frame ${frame} of ${data.frames}`;
  $('mark').hidden = !within(data.made, frame);
  draw();
}

// Moving.

function go(k, say = false) {
  wanted = Math.min(Math.max(k, 0), count - 1);
  if (say) tell(describe(wanted));
  if (seeking) return;
  seeking = true;
  // The middle of a frame: at its edge a browser may show the one before.
  video.currentTime = (clock[wanted] + clock[wanted + 1]) / 2 / data.tick;
}

video.addEventListener('seeked', () => {
  seeking = false;
  const target = wanted;
  const middle = (clock[target] + clock[target + 1]) / 2;
  if (Math.abs(video.currentTime * data.tick - middle) > 1) return go(target);
  state.frame = target;
  wanted = null;
  refresh();
});

function follow(now, presented) {
  if (presented && wanted === null) {
    state.frame = frameAt(presented.mediaTime);
    refresh();
  }
  video.requestVideoFrameCallback(follow);
}

function step(by) { video.pause(); go((wanted ?? state.frame) + by, true); }

function second(direction) {
  const from = wanted ?? state.frame;
  step(frameAt(Math.max(clock[from] / data.tick + direction, 0)) - from);
}

function jump(direction) {
  const from = wanted ?? state.frame;
  const after = direction > 0;
  const there = after ? spanStarts.find((k) => k > from) : spanStarts.findLast((k) => k < from);
  if (there === undefined) return tell(`No span ${after ? 'after' : 'before'} this one`);
  video.pause();
  go(there, true);
}

function toggle() {
  if (!video.paused) return video.pause();
  if (state.frame === count - 1) go(0);
  hear();
  video.play();
}

// The left of the film's sound is the old one, the right the new one; one is heard, on both sides.
function hear() {
  if (!data.sounds[0] && !data.sounds[1]) return;
  if (!listening) {
    const context = new AudioContext(), split = context.createChannelSplitter(2);
    context.createMediaElementSource(video).connect(split);
    listening = { context, old: context.createGain(), new: context.createGain() };
    ['old', 'new'].forEach((name, side) => {
      split.connect(listening[name], side);
      listening[name].connect(context.destination);
    });
  }
  listening.context.resume();
  for (const name of ['old', 'new']) listening[name].gain.value = state.sound === name ? 1 : 0;
}

function show(view) {
  state.view = view;
  document.querySelector(`input[name=view][value=${view}]`).checked = true;
  document.querySelector('.stage').dataset.view = view;
  $('source-figure').hidden = view === 'wipe' || view === 'edit';
  $('edit-figure').hidden = view === 'source';
  $('edit-name').textContent = view === 'wipe' ? 'Source | Edit' : 'Edit';
  document.querySelector('.wiper').hidden = view !== 'wipe';
  draw();
}

function press(button, name, on, off) {
  state[name] = !state[name];
  button.setAttribute('aria-pressed', state[name]);
  tell(state[name] ? on : off);
  draw();
}
const reveal = () => press($('reveal'), 'reveal', 'Edit revealed', 'Edit not marked');
const near = () => press($('near'), 'near', 'Close-up', 'Whole picture');

// Controls.

function lane(id, rows) {
  for (const [a, b] of rows) {
    const mark = document.createElement('i');
    mark.style.left = `${100 * a / count}%`;
    mark.style.width = `${100 * (b - a) / count}%`;
    $(id).append(mark);
  }
}

function icon(name) {
  const paths = { play: 'M4 2l10 6-10 6z', pause: 'M3 2h4v12H3zM9 2h4v12H9z' };
  $('play').querySelector('path').setAttribute('d', paths[name]);
  $('play').setAttribute('aria-label', name === 'play' ? 'Play' : 'Pause');
}

function setUp() {
  $('seek').max = count - 1;
  lane('made', made);
  lane('encoded', shown(data.encoded));
  lane('faceless', shown(data.faceless));
  lane('cuts', data.parts.slice(1).map((part) => [part.first, part.first]));
  $('faceless-legend').hidden = !data.faceless.length;
  for (const input of document.querySelectorAll('input[name=sound]')) {
    input.checked = input.value === state.sound;
    input.disabled = !{ old: data.sounds[0], new: data.sounds[1], off: true }[input.value];
    input.addEventListener('change', () => {
      state.sound = input.value;
      if (listening) hear();
    });
  }
  $('sounds').hidden = !data.sounds[0] && !data.sounds[1];
  for (const input of document.querySelectorAll('input[name=view]')) {
    input.addEventListener('change', () => show(input.value));
  }
  $('seek').addEventListener('input', () => { video.pause(); go($('seek').valueAsNumber); });
  $('wipe').addEventListener('input', draw);
  $('play').addEventListener('click', toggle);
  $('back').addEventListener('click', () => step(-1));
  $('forward').addEventListener('click', () => step(1));
  $('previous').addEventListener('click', () => jump(-1));
  $('next').addEventListener('click', () => jump(1));
  $('reveal').addEventListener('click', reveal);
  $('near').addEventListener('click', near);
  for (const button of document.querySelectorAll('[data-go]')) {
    const there = inFilm(Number(button.dataset.go));
    button.hidden = there === undefined;
    button.addEventListener('click', () => { video.pause(); go(there, true); $('play').focus(); });
  }
  video.addEventListener('play', () => {
    icon('pause');
    tell('Playing');
  });
  video.addEventListener('pause', () => {
    icon('play');
    if (!seeking) tell(`Paused at ${describe(state.frame)}`);
  });
  document.addEventListener('keydown', key);
  new ResizeObserver(draw).observe(document.querySelector('.stage'));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const on = event.target.closest('button, summary, input');
  const kind = on && (on.type || on.localName);
  const views = ['both', 'wipe', 'edit', 'source'];
  const keys = {
    ' ': toggle,
    ArrowLeft: () => event.shiftKey ? second(-1) : step(-1),
    ArrowRight: () => event.shiftKey ? second(1) : step(1),
    n: () => jump(1), p: () => jump(-1), r: reveal, z: near,
    v: () => {
      show(views[(views.indexOf(state.view) + 1) % 4]);
      tell(`View: ${state.view}`);
    },
  };
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // A control's own keys are its own: Space presses a button, arrows choose among radio buttons.
  if (/^[a-z]$/.test(name) && !$('letters').checked) return;
  const takesSpace = ['button', 'summary', 'radio', 'checkbox'].includes(kind);
  if (!(name in keys) || name === ' ' && takesSpace) return;
  if (name.startsWith('Arrow') && (kind === 'radio' || on === $('wipe'))) return;
  event.preventDefault();
  keys[name]();
}

video.playsInline = true;
video.preload = 'auto';
video.addEventListener('error', () => {
  $('trouble').textContent = 'This browser does not play H.264, so the pictures cannot be shown. '
    + 'What was changed is below.';
  $('trouble').hidden = false;
});
video.addEventListener('loadeddata', () => {
  document.querySelector('.player').hidden = false;
  setUp();
  follow();
  go(spanStarts[0] ?? 0);
}, { once: true });
video.src = URL.createObjectURL(new Blob([bytes($('film').textContent)], { type: 'video/mp4' }));
