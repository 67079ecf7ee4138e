/** Puts pieces of the page in place as they change. The browser connects again by itself, with the last id it saw. */
const link = document.getElementById('link');
const title = document.title;

const connect = () => {
  const events = new EventSource(`${link.dataset.events}?last=${encodeURIComponent(link.dataset.last)}`);
  const say = (text) => {
    if (link.textContent !== text) link.textContent = text;
  };
  events.addEventListener('open', () => say('Connected: this page follows by itself.'));
  events.addEventListener('error', () => say('The connection is lost; trying again.'));
  events.addEventListener('pieces', ({ data, lastEventId }) => {
    link.dataset.last = lastEventId;
    for (const [id, html] of Object.entries(JSON.parse(data))) {
      const place = document.getElementById(id);
      if (place === null) continue;
      const stops = () => [...place.querySelectorAll('a, button, [tabindex]')];
      const focused = stops().indexOf(document.activeElement);
      place.innerHTML = html;
      // Who stood in the piece with the keyboard stands there still.
      if (focused >= 0) stops()[focused]?.focus({ preventScroll: true });
    }
    const now = document.querySelector('#state [data-title]')?.dataset.title;
    document.title = now === undefined || now === '' ? title : `${now} · ${title}`;
  });
  // Given up by the browser, after an answer that was no stream of events.
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  });
};

connect();
