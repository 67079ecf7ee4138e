/**
 * The one script of the report: draws the map of the tree as a squarified treemap (Bruls, Huizing and van Wijk 2000) and goes in
 * and out of it by mouse and keyboard. It reads the JSON beside it and touches nothing else; text is only ever set as text.
 */

/** Runs as a module at the end of the body. */
export const TREE_SCRIPT = `
const host = document.getElementById('map');
if (host) {
  const { nodes, overall } = JSON.parse(document.getElementById('map-data').textContent);
  const field = host.querySelector('.map-field'), path = host.querySelector('.map-path'), said = host.querySelector('.map-said');
  const kids = nodes.map(() => []);
  nodes.forEach((node, i) => { if (node.p >= 0) kids[node.p].push(i); });
  const number = new Intl.NumberFormat('en');
  let at = 0, by = 'n';
  const nameOf = (i) => i === 0 ? 'All images' : (nodes[i].t ?? 'cluster ' + nodes[i].c);
  const text = (tag, className, content) => { const one = document.createElement(tag); one.className = className; one.textContent = content; return one; };

  function squarify(values, width, height) {
    const total = values.reduce((a, b) => a + b, 0), out = [];
    let x = 0, y = 0, w = width, h = height, left = total, i = 0;
    while (i < values.length && left > 0) {
      const side = Math.min(w, h), area = (w * h) / left;
      let row = [], sum = 0, worst = Infinity;
      for (let j = i; j < values.length; j++) {
        const next = sum + values[j], length = (next * area) / side;
        const ratio = Math.max(...[...row, values[j]].map((v) => { const other = (v * area) / length; return Math.max(length / other, other / length); }));
        if (row.length && ratio > worst) break;
        row.push(values[j]); sum = next; worst = ratio;
      }
      const thick = (sum * area) / side;
      let along = 0;
      for (const v of row) {
        const length = (v * area) / thick;
        out.push(w >= h ? [x, y + along, thick, length] : [x + along, y, length, thick]);
        along += length;
      }
      if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
      left -= sum; i += row.length;
    }
    return out;
  }

  // The group's own picture, then those of the groups inside, level by level.
  function picturesOf(i, count) {
    const found = new Set();
    for (let some = [i]; some.length > 0 && found.size < count; some = some.flatMap((j) => kids[j])) for (const j of some) if (nodes[j].i && found.size < count) found.add(nodes[j].i);
    return found;
  }

  function cellOf(i, box) {
    const node = nodes[i], open = kids[i].length > 0;
    const cell = document.createElement(open ? 'button' : 'div');
    if (open) { cell.type = 'button'; cell.addEventListener('click', () => go(i)); }
    const ratio = node.n ? node.d / node.n : 0;
    cell.className = 'map-cell ' + (ratio > 1.25 * overall ? 'more' : ratio < overall / 1.25 ? 'less' : 'same');
    const [w, h] = [box[2], box[3]];
    const inside = kids[i].length + (node.rest ? node.rest[0] : 0);
    const label = nameOf(i) + ' ' + number.format(node.n) + ' → ' + number.format(node.d) + ' images kept' + (open ? ', ' + number.format(inside) + (inside === 1 ? ' group' : ' groups') + ' inside' : '');
    const words = document.createElement('span');
    words.className = 'map-words';
    words.append(text('b', '', nameOf(i)), ' ', text('span', '', number.format(node.n) + ' → ' + number.format(node.d)));
    const roomy = w > 74 && h > 44;
    if (roomy) cell.append(words);
    const [wide, high] = [w - 14, h - (roomy ? 50 : 14)], side = Math.min(wide, high, 96);
    if (side >= 20) {
      const size = Math.min(side, 76), room = Math.max(1, Math.floor((wide + 3) / (size + 3)) * Math.floor((high + 3) / (size + 3)));
      const pictures = document.createElement('span');
      pictures.className = 'map-pictures';
      for (const src of picturesOf(i, room)) { const img = document.createElement('img'); img.src = src; img.alt = ''; img.width = img.height = size; pictures.append(img); }
      cell.append(pictures);
    }
    cell.title = label;
    if (open) cell.setAttribute('aria-label', label); else { cell.setAttribute('role', 'img'); cell.setAttribute('aria-label', label); }
    return cell;
  }

  function draw(focus) {
    const node = nodes[at], some = kids[at].filter((i) => nodes[i][by] > 0);
    const order = some.sort((a, b) => nodes[b][by] - nodes[a][by] || a - b);
    const rest = node.rest && node.rest[by === 'n' ? 1 : 2] > 0 ? node.rest : null;
    const width = field.clientWidth, height = field.clientHeight;
    const boxes = squarify([...order.map((i) => nodes[i][by]), ...(rest ? [rest[by === 'n' ? 1 : 2]] : [])], width, height);
    const cells = order.map((i, j) => cellOf(i, boxes[j]));
    if (rest) {
      const cell = text('div', 'map-cell rest', boxes[order.length][2] > 74 && boxes[order.length][3] > 40 ? number.format(rest[0]) + ' smaller' : '');
      cell.title = number.format(rest[0]) + ' smaller groups: ' + number.format(rest[1]) + ' images, ' + number.format(rest[2]) + ' kept';
      cell.setAttribute('role', 'img'); cell.setAttribute('aria-label', cell.title);
      cells.push(cell);
    }
    cells.forEach((cell, j) => { const [x, y, w, h] = boxes[j]; cell.style.left = x / width * 100 + '%'; cell.style.top = y / height * 100 + '%'; cell.style.width = w / width * 100 + '%'; cell.style.height = h / height * 100 + '%'; });
    field.replaceChildren(...cells);
    const trail = [];
    for (let i = at; i >= 0; i = nodes[i].p) trail.unshift(i);
    path.replaceChildren(...trail.map((i) => { const step = text('button', '', nameOf(i)); step.type = 'button'; if (i === at) step.setAttribute('aria-current', 'true'); step.addEventListener('click', () => go(i)); return step; }));
    if (focus) {
      said.textContent = nameOf(at) + ': ' + number.format(node.n) + ' images, ' + number.format(node.d) + ' kept';
      (field.querySelector('button') ?? path.lastElementChild).focus({ preventScroll: true });
    }
  }

  function go(i) { at = i; draw(true); }
  host.addEventListener('keydown', (event) => {
    const cells = [...field.querySelectorAll('button')], here = cells.indexOf(document.activeElement);
    if ((event.key === 'Escape' || event.key === 'Backspace') && at > 0) { event.preventDefault(); go(nodes[at].p); }
    if (here >= 0 && (event.key === 'ArrowRight' || event.key === 'ArrowDown')) { event.preventDefault(); cells[(here + 1) % cells.length].focus(); }
    if (here >= 0 && (event.key === 'ArrowLeft' || event.key === 'ArrowUp')) { event.preventDefault(); cells[(here + cells.length - 1) % cells.length].focus(); }
  });
  for (const choice of host.querySelectorAll('input[name="map-by"]')) choice.addEventListener('change', () => { by = choice.value; draw(false); });
  let width = 0;
  new ResizeObserver(() => { if (field.clientWidth !== width) { width = field.clientWidth; draw(false); } }).observe(field);
  host.hidden = false;
}
`;
