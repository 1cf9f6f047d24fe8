"use strict";
/* The page of optimal stimuli: a table of all cells, and a player of each cell's optima.

   Text from results is only ever set as text, never as HTML. */

const stimopt = (() => {
  const {byId, el, minus, number, percent, key, lattice, drawColumns, columnAt, greys, colorAt, load,
    arrived, inflate, unpacked, drawCurves, sectionOf} = drawing;
  const READ_OUT = "#1a9641", HOVERED = "#c51b8a";
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let page = null;                        // what stimopt.index passed
  let order = [];                         // rows as filtered and sorted

  // -- the table ---------------------------------------------------------------------------------

  const BATCH = 60;                       // rows added when the end of the table comes into view
  let drawn = 0, sorting = {column: null, down: false};

  function columnsOfTable() {
    const some = pick => page.rows.some(pick), several = page.networks.length > 1;
    return [
      {name: "cell type", value: row => row.type, cell: row => el("th", {scope: "row"},
        el("a", {href: `#${row.file}`}, row.label), el("small", {}, several ? row.network : ""),
        row.stable ? null : el("span", {className: "warning",
          title: "the network cannot be simulated at this step: its responses mean nothing"}, "not stable"))},
      ...some(row => row.ceiling !== null) && !page.names.includes("ceiling") ? [{name: "ceiling", title: "the largest response that any stimulus gives",
        value: row => row.ceiling, cell: row => el("td", {}, number(row.ceiling))}] : [],
      ...page.names.map((name, i) => ({name, title: `response at the peak; of the way from grey to the ceiling${some(row => row.floor !== null) ? ", or with a minus to the floor" : ""}`,
        value: row => row.fractions[i] ?? row.peaks[i], cell: row => pictureCell(row, name, i)})),
      ...some(row => row.direction !== null) ? [
        {name: "direction", title: "of the artificial optimum; 0\u00b0 moves right, 90\u00b0 up",
          value: row => row.direction, cell: directionCell},
        {name: "selectivity", title: "for direction, 0 to 1", value: row => row.selectivity,
          cell: row => el("td", {}, row.selectivity?.toFixed(2) ?? "\u2013")}] : [],
      ...some(row => row.polarity_index !== null) ? [{name: "polarity", title: "brightening (ON) or darkening (OFF)",
        value: row => row.polarity_index, cell: row => el("td", {}, polarityOf(row))}] : [],
      ...some(row => row.agreement !== null) ? [{name: "agreement", title: "likeness to the optima of the other networks, 1 for the same",
        value: row => row.agreement, cell: row => el("td", {}, row.agreement === null ? "\u2013" : minus(row.agreement.toFixed(2)))}] : [],
      ...page.extra.map((name, i) => ({name, value: row => row.extra[i],
        cell: row => el("td", {}, typeof row.extra[i] === "number" ? number(row.extra[i]) : row.extra[i] ?? "\u2013")})),
    ].map(column => ({...column, cell: row => { const cell = column.cell(row); cell.dataset.name = column.name; return cell; }}));
  }

  function pictureCell(row, name, i) {
    if (row.peaks[i] === null) return el("td", {}, "\u2013");
    const canvas = el("canvas", {className: "small", role: "img", dataset: {panel: i},
      ariaLabel: `stimulus of ${row.label}, ${name}, in its frame of most contrast before the peak`});
    return el("td", {className: "pictured"}, el("div", {className: "picture"}, canvas, el("span", {}, el("b", {}, number(row.peaks[i])),
      el("small", {}, percent(row.fractions[i])), row.remarks[i] && el("span", {className: "warning"}, row.remarks[i]))));
  }

  function directionCell(row) {
    if (row.direction === null) return el("td", {}, "\u2013");
    const arrow = el("span", {className: "arrow", ariaHidden: "true"}, "\u279c");
    arrow.style.transform = `rotate(${-row.direction}deg)`;
    return el("td", {className: row.selectivity > page.selective ? "" : "faint"}, arrow,
      `${Math.round(row.direction) % 360}\u00b0`);
  }

  const polarityOf = row => row.polarity ? el("span", {className: row.polarity > 0 ? "on" : "off"},
    row.polarity > 0 ? "ON" : "OFF") : "\u2013";

  function matches(row) {
    const [name, polarity, direction, network] = ["name", "polarity", "direction", "network"].map(id => byId(id).value);
    const selective = row.direction !== null && row.selectivity > page.selective;
    const turn = Math.abs((row.direction - Number(direction) + 540) % 360 - 180);
    return row.label.toLowerCase().includes(name.trim().toLowerCase())
      && (!polarity || row.polarity === Number(polarity)) && (!network || row.network === network)
      && (!direction || (direction === "none" ? !selective : selective && turn <= 45));
  }

  function compare(a, b) {
    const [one, other] = [a, b].map(sorting.column.value), absent = x => x === null || x === undefined;
    if (absent(one) || absent(other)) return absent(one) - absent(other);
    const sign = typeof one === "number" && typeof other === "number" ? one - other
      : String(one).localeCompare(String(other), "en", {numeric: true});
    return sorting.down ? -sign : sign;
  }

  function showTable() {
    order = page.rows.filter(matches);
    if (sorting.column) order.sort(compare);
    byId("rows").replaceChildren();
    drawn = 0;
    byId("count").value = `${order.length} of ${page.rows.length}`;
    moreRows();
  }

  function moreRows() {
    for (const row of order.slice(drawn, drawn + BATCH)) {
      const tr = el("tr", {}, ...page.columns.map(column => column.cell(row)));
      for (const name of ["mouseenter", "focusin"]) tr.addEventListener(name, () => moving.set(tr, row));
      for (const name of ["mouseleave", "focusout"]) tr.addEventListener(name, () => rest(tr, row));
      tr.row = row;
      byId("rows").append(tr);
      seen.observe(tr);
    }
    drawn = Math.min(drawn + BATCH, order.length);
    byId("more").textContent = drawn < order.length ? `${order.length - drawn} more below` : "";
  }

  function rest(tr, row) {
    moving.delete(tr);
    drawSmall(tr, row);
  }

  const moving = new Map();               // rows whose pictures play
  const seen = new IntersectionObserver(entries => entries.forEach(async ({target, isIntersecting}) => {
    target.inView = isIntersecting;
    if (!isIntersecting) return;
    if (!target.row.small) target.row.small = await load(`${target.row.file}-small`).then(
      panels => Promise.all(panels.map(async panel => ({...panel, of: lattice(panel.extent),
        values: new Uint8Array(await inflate(panel.packed))}))), problem);
    drawSmall(target, target.row);
  }), {rootMargin: "300px"});

  function drawSmall(tr, row, before) {   // ms before the peak; at rest the frame of most contrast
    if (!row.small || !tr.isConnected) return;
    for (const canvas of tr.querySelectorAll("canvas")) {
      const panel = row.small.find(each => each.panel === Number(canvas.dataset.panel));
      const n = panel.of.columns.length;
      const frame = before === undefined ? panel.rest : panel.frames - 1 - Math.round(before / panel.spacing);
      drawColumns(canvas, panel.of, panel.extent, i => greys[frame < 0 ? 128 : panel.values[frame * n + i]]);
    }
  }

  function playSmall(now) {
    if (byId("list").hidden) return;
    const before = Math.max(0, 200 - now / 8 % 275);    // an eighth of real time, then a rest
    const every = byId("play-all").getAttribute("aria-pressed") === "true";
    for (const tr of every ? byId("rows").children : moving.keys())
      if (tr.inView) drawSmall(tr, tr.row, before);
  }

  // -- the player --------------------------------------------------------------------------------

  const player = {row: null, panels: [], time: 0, playing: false, rested: 0, chosen: [], hovered: null};

  const rings = () => Number(byId("rings").value) || Infinity;
  const step = () => Math.min(...player.panels.map(panel => 1000 * panel.dt));
  const frameOf = panel => panel.peak + Math.round(player.time / (1000 * panel.dt));
  const readOut = panel => key(panel.u, panel.v);
  const series = k => {                   // black lines are those of the text, on dark paper too
    const color = page.series[k % page.series.length];
    return color === "#000000" ? getComputedStyle(document.body).color : color;
  };
  const colorOf = k => series(k + 1);

  function span() {                       // ms to the peak that the player runs over
    const first = Math.min(...player.panels.map(panel => -1000 * panel.dt * panel.peak));
    const last = Math.max(...player.panels.map(panel => 1000 * panel.dt * (panel.frames - 1 - panel.peak)));
    const stretch = Number(byId("stretch").value);
    return stretch ? [Math.max(-stretch, first), 0] : [first, last];
  }

  async function open(row) {
    const {panels, sections} = await load(row.file);
    const opened = await Promise.all(panels.map(unpacked));
    Object.assign(player, {row, panels: opened, time: 0, chosen: [], hovered: null, rested: 0});
    byId("list").hidden = true;
    byId("item").hidden = false;
    byId("title").textContent = row.label;
    document.title = `${row.label} \u00b7 ${page.title}`;
    const facts = [page.networks.length > 1 ? `network ${row.network}` : null,
      row.stable ? null : "the network is not stable: its responses mean nothing",
      row.ceiling === null ? null : `ceiling ${number(row.ceiling)}, at grey ${number(row.grey)}${row.floor === null ? "" : `, floor ${number(row.floor)}`}`,
      row.direction === null ? null : `direction ${Math.round(row.direction) % 360}\u00b0, selectivity ${row.selectivity.toFixed(2)}`];
    byId("tuning").replaceChildren(facts.filter(Boolean).join(" \u00b7 "), " ", row.polarity ? polarityOf(row) : "");
    const at = order.indexOf(row), link = (other, name) => other && el("a", {href: `#${other.file}`}, name(other.label));
    byId("neighbours").replaceChildren(...[link(order[at - 1], name => `\u2190 ${name}`), link(order[at + 1], name => `${name} \u2192`)].filter(Boolean));
    byId("panels").replaceChildren(...player.panels.map(panelFigure));
    byId("together").hidden = player.panels.length < 2;
    byId("legend").replaceChildren(...player.panels.map((panel, k) => {
      const swatch = el("i");
      swatch.style.background = series(k);
      return el("span", {}, swatch, `${panel.name}: ${number(panel.value)}`);
    }));
    byId("sections").replaceChildren(...sections.map(sectionOf));
    play(!still);
    fitScrub();
    window.scrollTo(0, 0);
  }

  function panelFigure(panel) {
    const toFloor = panel.fraction < 0 && player.row.floor !== null;
    const side = (what, label) => {
      const canvas = el("canvas", {tabIndex: 0, role: "img", className: what,
        ariaLabel: `${what} of ${player.row.label}, ${panel.name}: ${panel.of.columns.length} columns. ${label}. Arrow keys choose a column, Enter adds its trace.`});
      const [low, high, unit] = [el("span"), el("span"), el("em", {}, label)], bar = el("i");
      canvas.onpointermove = event => hover(columnAt(canvas, panel.of, rings(), event));
      canvas.onpointerleave = () => hover(null);
      canvas.onclick = event => choose(columnAt(canvas, panel.of, rings(), event));
      canvas.onkeydown = event => walk(event, panel);
      return {canvas, low, high, bar, whole: el("div", {}, canvas, el("div", {className: "scale"}, low, bar, high, unit))};
    };
    const stimulus = side("stimulus", "luminance"), response = side("response", "\u0394 response (a.u.)");
    [stimulus.low.textContent, stimulus.high.textContent] = ["0", "1"];
    stimulus.bar.style.background = "linear-gradient(90deg, #000, #fff)";
    response.bar.style.background = `linear-gradient(90deg, ${page.colors.join(",")})`;
    const trace = el("canvas", {className: "trace", role: "img",
      ariaLabel: `response of the cell read out over time, ${panel.name}: ${number(panel.value)} a.u. at the peak`});
    scrubbing(trace);
    const values = el("p", {className: "values"});
    panel.view = {stimulus: stimulus.canvas, response, trace, values};
    return el("figure", {}, el("figcaption", {}, el("b", {}, panel.name),
      el("span", {}, `peak ${number(panel.value)} a.u. at ${number(1000 * panel.dt * panel.peak)} ms`),
      el("small", {}, panel.fraction === null ? "" : `${percent(panel.fraction * (toFloor ? -1 : 1))} of the way from grey to the ${toFloor ? "floor" : "ceiling"}`),
      panel.remark ? el("span", {className: "warning"}, panel.remark) : null),
      el("div", {className: "pair"}, stimulus.whole, response.whole), values, trace);
  }

  function draw() {
    if (byId("item").hidden) return;
    const shared = byId("shared").checked, most = Math.max(...player.panels.map(panel => panel.limit));
    const [from, to] = span();
    byId("scrub").value = player.time;
    byId("scrub").setAttribute("aria-valuetext", `${number(player.time)} ms to the peak`);
    byId("time").value = `${minus(player.time.toFixed(0))} ms`;
    const all = player.panels.map(panel => {
      const {of, at, view} = panel, frame = frameOf(panel), limit = shared ? most : panel.limit;
      const marks = [{column: readOut(panel), color: READ_OUT}, ...player.chosen.map((column, k) => ({column, color: colorOf(k)})),
        ...player.hovered ? [{column: player.hovered, color: HOVERED}] : []];
      drawColumns(view.stimulus, of, rings(), i => {
        const {luminance} = at(frame, i);
        return luminance === null ? null : greys[Math.round(255 * luminance)];
      }, marks);
      drawColumns(view.response.canvas, of, rings(), i => {
        const {difference} = at(frame, i);
        return difference === null ? null : colorAt(page.colors, difference, limit);
      }, marks);
      view.response.low.textContent = number(-limit);
      view.response.high.textContent = number(limit);
      view.values.textContent = valuesAt(panel, frame, player.hovered ?? readOut(panel));
      const curve = (column, color, width) => ({color, width, points: Array.from({length: panel.frames},
        (_, f) => [1000 * panel.dt * (f - panel.peak), at(f, of.index.get(column)).voltage])});
      const central = curve(readOut(panel), series(0), 2);
      drawCurves(view.trace, [...player.chosen.map((column, k) => curve(column, colorOf(k), 1.5)), central], [from, to], player.time);
      return central.points;
    });
    if (all.length < 2) return;
    const levels = ["ceiling", "grey", "floor"].map(text => ({text, value: player.row[text]})).filter(({value}) => value !== null);
    drawCurves(byId("overlay"), all.map((points, k) => ({points, color: series(k)})), [from, to], player.time, levels);
  }

  function valuesAt(panel, frame, column) {
    const [u, v] = column.split(","), {luminance, difference, voltage} = panel.at(frame, panel.of.index.get(column));
    const where = `column (${minus(u)}, ${minus(v)})${column === readOut(panel) ? ", read out" : ""}: `;
    if (frame < 0) return `${where}grey, before the stimulus`;
    if (luminance === null) return `${where}after the stimulus`;
    const cell = voltage === null ? "no cell or no number" : `voltage ${number(voltage)} a.u. (\u0394\u00a0${number(difference)})`;
    return `${where}luminance ${luminance.toFixed(2)}, ${cell}`;
  }

  function hover(column) { player.hovered = column; draw(); }

  function choose(column) {
    if (column === null || player.panels.every(panel => column === readOut(panel))) return;
    player.chosen = player.chosen.includes(column) ? player.chosen.filter(each => each !== column) : [...player.chosen, column];
    draw();
  }

  function walk(event, panel) {           // the column under the keys
    const way = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}[event.key];
    const [u, v] = (player.hovered ?? readOut(panel)).split(",").map(Number);
    if (event.key === "Enter") choose(player.hovered);
    else if (!way) return;
    else {
      const next = key(u + way[0], v + way[1]), column = panel.of.columns[panel.of.index.get(next)];
      if (column && column.ring <= rings()) hover(next);
      byId("spoken").textContent = valuesAt(panel, frameOf(panel), player.hovered ?? readOut(panel));
    }
    event.preventDefault();
    event.stopPropagation();
  }

  function scrubbing(canvas) {
    const to = event => { play(false); seek(canvas.toTime(event)); };
    canvas.onpointerdown = event => { canvas.setPointerCapture(event.pointerId); to(event); };
    canvas.onpointermove = event => { if (event.buttons) to(event); };
  }

  function seek(time) {
    const [from, to] = span();
    player.time = Math.max(from, Math.min(to, step() * Math.round(time / step())));
    draw();
  }

  function play(on) {
    Object.assign(player, {playing: on, precise: player.time, rested: 0});
    byId("play").textContent = on ? "pause" : "play";
  }

  function fitScrub() {
    const [min, max] = span();
    Object.assign(byId("scrub"), {min, max, step: step()});
    seek(player.time);
  }

  function playItem(elapsed) {
    const [from, to] = span();
    if (!player.playing || byId("item").hidden) return;
    if (player.precise >= to && (player.rested += elapsed) < 700) return;     // rest at the end
    const next = player.precise >= to ? from : player.precise + elapsed * Number(byId("speed").value);
    Object.assign(player, {precise: next, rested: 0});
    seek(next);
  }

  function speed(by) {
    const select = byId("speed");
    select.selectedIndex = Math.max(0, Math.min(select.options.length - 1, select.selectedIndex + by));
  }

  const by = n => { play(false); seek(player.time + n * step()); };
  const toNeighbour = n => { const other = order[order.indexOf(player.row) + n]; if (other) location.hash = other.file; };
  const KEYS = {" ": () => play(!player.playing), ArrowLeft: () => by(-1), ArrowRight: () => by(1),
    Home: () => { play(false); seek(-Infinity); }, End: () => { play(false); seek(Infinity); },
    "+": () => speed(1), "-": () => speed(-1), "[": () => toNeighbour(-1), "]": () => toNeighbour(1),
    Escape: () => { location.hash = ""; }};

  function onKey(event) {
    if (byId("item").hidden || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    if (event.target.matches("select, input[type=checkbox]") || (event.target.matches("button, a") && event.key === " ")) return;
    event.preventDefault();
    KEYS[event.key]();
  }

  // -- start -------------------------------------------------------------------------------------

  const problem = error => { byId("facts").textContent = error.message; };

  function route() {
    const row = page.rows.find(each => each.file === location.hash.slice(1));
    if (row) return open(row).catch(problem);
    Object.assign(player, {row: null, playing: false});
    byId("item").hidden = true;
    byId("list").hidden = false;
    document.title = page.title;
  }

  function start() {
    page.columns = columnsOfTable();
    byId("heading").textContent = page.title;
    byId("facts").textContent = page.facts;
    byId("foot").textContent = page.foot;
    byId("heads").append(...page.columns.map(column => {
      const button = el("button", {type: "button", title: column.title ?? ""}, column.name), head = el("th", {scope: "col"}, button);
      button.onclick = () => {
        sorting = {column, down: sorting.column === column && !sorting.down};
        for (const each of byId("heads").children) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
        showTable();
      };
      return head;
    }));
    byId("of-network").hidden = page.networks.length < 2;
    byId("network").append(...page.networks.map(name => el("option", {value: name}, name)));
    byId("filters").oninput = showTable;
    byId("filters").onsubmit = event => event.preventDefault();
    byId("play-all").onclick = ({currentTarget: button}) => {
      button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
      for (const tr of byId("rows").children) drawSmall(tr, tr.row);
    };
    byId("play").onclick = KEYS[" "];
    byId("back").onclick = KEYS.ArrowLeft;
    byId("forth").onclick = KEYS.ArrowRight;
    byId("scrub").oninput = event => { play(false); seek(Number(event.target.value)); };
    byId("stretch").onchange = fitScrub;
    byId("rings").onchange = byId("shared").onchange = draw;
    scrubbing(byId("overlay"));
    byId("overlay").setAttribute("role", "img");
    byId("overlay").setAttribute("aria-label", "responses of the cell read out to all its optima over time");
    byId("theme").onclick = () => {
      const dark = getComputedStyle(document.documentElement).colorScheme === "dark"
        || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
      document.documentElement.dataset.theme = dark ? "light" : "dark";
      draw();
    };
    addEventListener("keydown", onKey);
    addEventListener("resize", draw);
    addEventListener("hashchange", route);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    new IntersectionObserver(entries => { if (entries[0].isIntersecting && drawn < order.length) moreRows(); },
      {rootMargin: "800px"}).observe(byId("more"));
    showTable();
    route();
    let last = performance.now();
    const tick = now => {
      playItem(now - last);
      playSmall(now);
      last = now;
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  return {
    index(content) { page = content; start(); },
    item(name, content) { arrived[name](content); },
  };
})();
