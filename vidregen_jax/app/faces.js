// The faces that can be chosen, as pictures with radio buttons; `views.faces` is the value.

const list = element.querySelector('.faces');
let shown = null;

function refresh() {
  const value = props.value;
  list.hidden = !value;
  if (!value || value.id === shown) return;
  shown = value.id;
  list.replaceChildren(...value.faces.map((face) => {
    const label = document.createElement('label'), input = document.createElement('input');
    const picture = document.createElement('img'), words = document.createElement('span');
    Object.assign(input, {
      type: 'radio', name: `face-${value.id}`, checked: face.number === value.chosen,
    });
    input.addEventListener('change', () => {
      props.value = { ...props.value, chosen: face.number };
    });
    Object.assign(picture, { src: face.picture, alt: '' });
    words.textContent = `Face ${face.number}, ${face.first.toFixed(1)} to ${face.last.toFixed(1)} s`;
    label.append(input, picture, words);
    return label;
  }));
}

watch('value', refresh);
refresh();
