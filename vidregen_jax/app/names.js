// Gradio calls every place to drop files the same; a screen reader hears which it is from its group.
() => {
  const names = {
    video: 'Video', sound: 'New sound', pieces: 'Pieces of new sound', transcript: 'Transcript',
  };
  new MutationObserver(() => {
    for (const [id, name] of Object.entries(names)) {
      const place = document.getElementById(id);
      if (place && !place.ariaLabel) Object.assign(place, { role: 'group', ariaLabel: name });
    }
  }).observe(document.body, { childList: true, subtree: true });
}
