"use strict";
/* What the page is made of: elements, hexagonal columns, curves, and the data behind them. */

const drawing = (() => {
  const byId = id => document.getElementById(id);
  const GREY = 0.5, MISSING = -2048;

  // -- small things ------------------------------------------------------------------------------

  function el(tag, properties = {}, ...children) {
    const {dataset, aria, ...rest} = properties, node = Object.assign(document.createElement(tag), rest);
    Object.assign(node.dataset, dataset);
    for (const [name, value] of Object.entries(aria ?? {})) node.setAttribute(`aria-${name}`, value);
    node.append(...children.filter(child => child !== null));
    return node;
  }

  const minus = text => text.replaceAll("-", "\u2212");

  function number(x) {                   // three digits, as in the figures
    if (x === null || !Number.isFinite(x)) return "\u2013";
    const size = Math.abs(x);
    if (size === 0) return "0";
    if (size < 0.001 || size >= 99999.5) return minus(x.toExponential(1));
    return minus(size >= 999.5 ? x.toFixed(0) : x.toPrecision(3));
  }

  const percent = x => x === null ? "" : minus(`${(100 * x).toFixed(0)} %`);
  const key = (u, v) => `${u},${v}`;

  // -- columns -----------------------------------------------------------------------------------

  const lattices = new Map();

  function lattice(extent) {             // in the order of stimopt's HexLattice; y grows downward
    if (!lattices.has(extent)) {
      const columns = [], index = new Map();
      for (let u = -extent; u <= extent; u++)
        for (let v = Math.max(-extent, -extent - u); v <= Math.min(extent, extent - u); v++) {
          index.set(key(u, v), columns.length);
          columns.push({u, v, x: 1.5 * v, y: Math.sqrt(3) * (u + v / 2),
            ring: Math.max(Math.abs(u), Math.abs(v), Math.abs(u + v))});
        }
      lattices.set(extent, {extent, columns, index});
    }
    return lattices.get(extent);
  }

  function prepared(canvas) {            // sharp on any screen
    const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, box.width, box.height);
    return {context, width: box.width, height: box.height};
  }

  function fitted({extent}, rings, width, height) {
    const shown = Math.min(rings, extent), margin = 0.6;
    const size = Math.min(width / (3 * shown + 2 + margin),
      height / (Math.sqrt(3) * (2 * shown + 1) + margin));
    return {shown, size, x: width / 2, y: height / 2};
  }

  const CORNERS = [0, 1, 2, 3, 4, 5].map(k => [Math.cos(k * Math.PI / 3), Math.sin(k * Math.PI / 3)]);

  function drawColumns(canvas, of, rings, color, marks = []) {
    const {context, width, height} = prepared(canvas), at = fitted(of, rings, width, height);
    const ink = getComputedStyle(canvas).color;
    const hexagon = (column, scale) => {
      context.beginPath();
      for (const [dx, dy] of CORNERS)
        context.lineTo(at.x + (column.x + scale * dx) * at.size, at.y + (column.y + scale * dy) * at.size);
      context.closePath();
    };
    of.columns.forEach((column, i) => {
      if (column.ring > at.shown) return;
      const fill = color(i);
      hexagon(column, 1);
      if (fill === null) {
        Object.assign(context, {strokeStyle: ink, globalAlpha: 0.15, lineWidth: 0.5});
        context.stroke();
        context.globalAlpha = 1;
      } else {                           // strokes of the same colour close the seams
        Object.assign(context, {fillStyle: fill, strokeStyle: fill, lineWidth: 0.4});
        context.fill();
        context.stroke();
      }
    });
    for (const mark of marks) {
      const column = of.columns[of.index.get(mark.column)];
      if (!column || column.ring > at.shown) continue;
      hexagon(column, 0.85);
      Object.assign(context, {strokeStyle: mark.color ?? ink, lineWidth: Math.max(1.6, at.size / 5)});
      context.stroke();
    }
  }

  function columnAt(canvas, of, rings, event) {
    const box = canvas.getBoundingClientRect(), at = fitted(of, rings, box.width, box.height);
    const x = (event.clientX - box.left - at.x) / at.size, y = (event.clientY - box.top - at.y) / at.size;
    let best = null, nearest = 1;        // within the hexagon's circle
    for (const column of of.columns) {
      const distance = Math.hypot(column.x - x, column.y - y);
      if (column.ring <= at.shown && distance < nearest) [best, nearest] = [column, distance];
    }
    return best && key(best.u, best.v);
  }

  const greys = Array.from({length: 256}, (_, i) => `rgb(${i},${i},${i})`);

  function colorAt(colors, difference, limit) {
    const position = (difference / limit + 1) / 2 * (colors.length - 1);
    return colors[Math.max(0, Math.min(colors.length - 1, Math.round(position)))];
  }

  // -- data --------------------------------------------------------------------------------------

  /* They come as scripts that call stimopt.item, because a page opened from disk may not fetch. */

  const asked = new Map(), arrived = {};  // by the name of the file

  function load(name) {
    if (!asked.has(name)) {
      asked.set(name, new Promise((resolve, reject) => {
        arrived[name] = resolve;
        const script = el("script", {src: `data/${name}.js`});
        script.onerror = () => reject(new Error(`expected data/${name}.js beside the page, got no file`));
        script.onload = () => script.remove();
        document.head.append(script);
      }));
    }
    return asked.get(name);
  }

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  function summed(values, columns) {      // differences from frame to frame become values
    for (let i = columns; i < values.length; i++) values[i] += values[i - columns];
    return values;
  }

  async function unpacked(panel) {        // see encoding.py
    const buffer = await inflate(panel.packed), n = panel.frames, of = lattice(panel.extent);
    const columns = of.columns.length, size = n * columns;
    const base = new Float32Array(buffer, 0, columns);
    const stimulus = summed(new Uint8Array(buffer.slice(4 * columns, 4 * columns + size)), columns);
    const high = new Uint8Array(buffer, 4 * columns + size, size);
    const low = new Uint8Array(buffer, 4 * columns + 2 * size, size);
    const steps = summed(Int16Array.from(high, (h, i) => h << 8 | low[i]), columns);
    const at = (frame, i) => {            // luminance, difference to the first frame, voltage
      if (frame < 0 || frame >= n) return {luminance: frame < 0 ? GREY : null, difference: null, voltage: null};
      const step = steps[frame * columns + i], known = step !== MISSING && i !== undefined;
      const difference = known ? step * panel.step : null;
      return {luminance: i === undefined ? null : stimulus[frame * columns + i] / 255, difference,
        voltage: known ? base[i] + difference : null};
    };
    return {...panel, of, at};
  }

  // -- curves ------------------------------------------------------------------------------------

  function ticks(low, high, most) {
    const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find(k => k * power >= raw);
    const all = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) all.push(k * step);
    return all.map(value => ({value, text: minus(String(Number(value.toPrecision(6))))}));
  }

  function drawCurves(canvas, curves, [from, to], time, lines = []) {
    const {context, width, height} = prepared(canvas), ink = getComputedStyle(canvas).color;
    const values = curves.flatMap(curve => curve.points.filter(p => p[0] >= from && p[0] <= to).map(p => p[1]))
      .filter(Number.isFinite).concat(lines.map(line => line.value));
    let low = Math.min(...values), high = Math.max(...values);
    if (!values.length) [low, high] = [0, 1];
    const pad = 0.07 * (high - low) || Math.abs(high) * 0.05 || 1;
    [low, high] = [low - pad, high + pad];
    const box = {left: 58, right: 10, top: 8, bottom: 36};
    const x = t => box.left + (t - from) / (to - from) * (width - box.left - box.right);
    const y = v => height - box.bottom - (v - low) / (high - low) * (height - box.top - box.bottom);
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    Object.assign(context, {fillStyle: ink, strokeStyle: ink, lineWidth: 1, textBaseline: "middle"});
    const line = (points, style = {}) => {
      context.save();
      Object.assign(context, style);
      context.setLineDash(style.dash ?? []);
      context.beginPath();
      points.forEach(([a, b]) => context.lineTo(a, b));
      context.stroke();
      context.restore();
    };
    context.textAlign = "right";
    for (const tick of ticks(low, high, height / 38)) {
      line([[box.left, y(tick.value)], [width - box.right, y(tick.value)]], {globalAlpha: 0.13});
      context.fillText(tick.text, box.left - 6, y(tick.value));
    }
    context.textAlign = "center";
    for (const tick of ticks(from, to, (width - 60) / 65)) {
      line([[x(tick.value), height - box.bottom], [x(tick.value), height - box.bottom + 4]]);
      context.fillText(tick.text, x(tick.value), height - box.bottom + 12);
    }
    line([[box.left, box.top], [box.left, height - box.bottom], [width - box.right, height - box.bottom]], {globalAlpha: 0.5});
    context.fillText("time to peak (ms)", (box.left + width) / 2, height - 8);
    context.save();
    context.translate(9, (height - box.bottom + box.top) / 2);
    context.rotate(-Math.PI / 2);
    context.fillText("response (a.u.)", 0, 0);
    context.restore();
    for (const {value, text} of lines) {
      line([[box.left, y(value)], [width - box.right, y(value)]], {dash: [5, 4], globalAlpha: 0.7});
      context.textAlign = "left";
      context.fillText(text, box.left + 5, y(value) + (y(value) < 24 ? 9 : -8));
    }
    context.save();
    context.beginPath();
    context.rect(box.left, 0, width - box.left - box.right, height);
    context.clip();
    for (const {points, color, width: stroke = 1.8} of curves) {
      const drawn = points.filter(p => p[1] !== null);
      line(drawn.map(([t, v]) => [x(t), y(v)]), {strokeStyle: color, lineWidth: stroke, lineJoin: "round"});
    }
    context.restore();
    for (const {points, color} of curves) {
      const now = points.find(p => p[1] !== null && Math.abs(p[0] - time) < 0.51 * (points[1]?.[0] - points[0][0] || 1));
      if (!now) continue;
      context.beginPath();
      context.arc(x(now[0]), y(now[1]), 3.5, 0, 7);
      context.fillStyle = color;
      context.fill();
    }
    line([[x(time), box.top], [x(time), height - box.bottom]], {globalAlpha: 0.6});
    canvas.toTime = event => from + (event.clientX - canvas.getBoundingClientRect().left - box.left)
      / (width - box.left - box.right) * (to - from);
  }

  function sectionOf({title, text, tables, figures}) {
    return el("section", {}, el("h3", {}, title), text ? el("p", {}, text) : null,
      ...tables.map(table => el("table", {}, el("caption", {}, table.caption),
        el("thead", {}, el("tr", {}, ...table.columns.map(name => el("th", {scope: "col"}, name)))),
        el("tbody", {}, ...table.rows.map(row => el("tr", {}, ...row.map(
          value => el("td", {}, typeof value === "number" ? number(value) : value ?? "\u2013"))))))),
      ...figures.map(figure => el("img", {src: `data/${figure.file}`, alt: figure.alt})));
  }

  return {byId, el, minus, number, percent, key, lattice, drawColumns, columnAt, greys, colorAt, load,
    arrived, inflate, unpacked, drawCurves, sectionOf};
})();
