// The controls of the codes: strips of categories, sliders, the pad, sweeps; and the history.

const N_SWEEP = 11;
const N_PAD = 7;
const N_HISTORY = 40;
const PAD_SIDE_PX = 343; // the longer one

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function cellOf(canvas, label, onclick) {
  return element("button", { className: "cell", title: label, onclick }, canvas, label);
}

// A key of all latents but the codes that a section varies itself.
function keyWithout(...codes) {
  return [now.z, codes.reduce((c, code) => withCode(code, c, 0), now.c).join()];
}

function layOutCodes() {
  $("codes").replaceChildren(...model.codes.map((code) => {
    code.box = code.kind === "cat" ? categoryControl(code) : sliderControl(code);
    code.box.classList.add("code");
    return code.box;
  }));
}

function categoryControl(code) {
  const { values } = code, strip = sweepStrip(code);
  code.cells = [...strip.children];
  for (const cell of code.cells) cell.setAttribute("role", "radio");
  strip.setAttribute("role", "radiogroup");
  strip.setAttribute("aria-label", code.title);
  strip.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    stepCode(code, step);
    code.cells[values.indexOf(valueOf(code))].focus();
  };
  return element("div", {}, element("h3", { textContent: code.title }), strip);
}

function sliderControl(code) {
  const end = RANGE_OF[code.kind];
  code.range = element("input", { type: "range", min: -end, max: end, step: 0.01 });
  code.number = element("input", { type: "number", min: -LIMIT, max: LIMIT, step: 0.05 });
  code.range.setAttribute("aria-label", code.title);
  code.number.setAttribute("aria-label", `${code.title}, value`);
  code.range.oninput = () => moveCode(code, Number(code.range.value), false);
  code.range.onchange = () => moveCode(code, Number(code.range.value));
  code.number.oninput = () => {
    const value = code.number.valueAsNumber;
    if (Math.abs(value) <= LIMIT) moveCode(code, value, false);
  };
  code.number.onchange = () => {
    show(now, true);
    code.number.value = valueOf(code).toFixed(2);
  };
  return element("div", {},
    element("div", { className: "slider" }, element("span", { textContent: code.title }), code.range, code.number));
}

// Images of all values of a code, the rest as it is; a click takes the value.
function sweepStrip(code) {
  const canvases = code.values.map(() => forImages());
  addSection(() => keyWithout(code), () => code.values.map((value, i) =>
    ({ latents: { ...now, c: withCode(code, now.c, value) }, done: (image) => paint(canvases[i], image) })));
  const cells = code.values.map((value, i) => cellOf(canvases[i], nameOf(code, value), () => moveCode(code, value)));
  return element("div", { className: "strip" }, ...cells);
}

function layOutSweeps() {
  $("sweeps").replaceChildren(...model.codes.map((code) =>
    element("div", {}, element("h3", { textContent: code.title }), sweepStrip(code))));
}

function stepCode(code, direction) {
  if (code.kind === "cat") {
    const { values } = code;
    return moveCode(code, values[(values.indexOf(valueOf(code)) + direction + values.length) % values.length]);
  }
  const end = RANGE_OF[code.kind];
  moveCode(code, Math.min(end, Math.max(-end, valueOf(code) + direction * end / 20)));
}

// The pad: any two codes, with the grid of both behind it.

const padCodes = () => [$("pad-x"), $("pad-y")].map((select) => model.codes.find(({ name }) => name === select.value));
const padValues = (code) => code.kind === "cat" ? code.values : sweepValues(code, N_PAD);

function layOutPad() {
  $("pad-box").hidden = model.codes.length < 2;
  if (model.codes.length < 2) return;
  for (const [select, back] of [[$("pad-x"), 1], [$("pad-y"), 2]]) {
    select.replaceChildren(...model.codes.map(({ name, title }) => new Option(title, name)));
    select.value = model.codes.at(-back).name;
    select.onchange = () => show(now);
  }
  const canvas = $("pad").querySelector("canvas");
  addSection(() => [...keyWithout(...padCodes()), ...padCodes()], () => {
    const [x, y] = padCodes(), columns = padValues(x), rows = padValues(y);
    forImages(canvas, columns.length, rows.length);
    $("pad").style.width = `${PAD_SIDE_PX * Math.min(1, canvas.width / canvas.height)}px`;
    return rows.flatMap((v, row) => columns.map((u, column) => ({
      latents: { ...now, c: withCode(x, withCode(y, now.c, v), u) },
      done: (image) => paint(canvas, image, column, row),
    })));
  });
}

// Where a value lies along the pad, in [0, 1], and back; the ends of the prior lie in the middle of cells.
function placeOf(code, value) {
  const n = padValues(code).length;
  const index = code.kind === "cat" ? code.values.indexOf(value) : (value / RANGE_OF[code.kind] + 1) / 2 * (n - 1);
  return Math.min(1, Math.max(0, (index + 0.5) / n));
}

function valueAt(code, place) {
  const n = padValues(code).length, index = Math.min(n - 1, Math.max(0, place * n - 0.5));
  return code.kind === "cat" ? code.values[Math.round(index)] : RANGE_OF[code.kind] * (2 * index / (n - 1) - 1);
}

function showPad() {
  if (model.codes.length < 2) return;
  const [x, y] = padCodes(), said = (code) => `${code.title} ${nameOf(code, valueOf(code))}`;
  $("handle").style.left = `${100 * placeOf(x, valueOf(x))}%`;
  $("handle").style.top = `${100 * placeOf(y, valueOf(y))}%`;
  $("pad").setAttribute("aria-label", `${said(x)}, ${said(y)}; the arrow keys move both`);
}

function dragPad(event) {
  const box = $("pad").getBoundingClientRect(), [x, y] = padCodes();
  const c = withCode(y, now.c, valueAt(y, (event.clientY - box.top) / box.height));
  active = x;
  show({ ...now, c: withCode(x, c, valueAt(x, (event.clientX - box.left) / box.width)) });
}

$("pad").onpointerdown = (event) => {
  $("pad").setPointerCapture(event.pointerId);
  dragPad(event);
};
$("pad").onpointermove = (event) => { if (event.buttons) dragPad(event); };
$("pad").onpointerup = () => show(now, true);
$("pad").onkeydown = (event) => {
  const [x, y] = padCodes();
  const moved = { ArrowRight: [x, 1], ArrowLeft: [x, -1], ArrowDown: [y, 1], ArrowUp: [y, -1] }[event.key];
  if (!moved) return;
  event.preventDefault();
  event.stopPropagation();
  stepCode(...moved);
};

// The history: every image that was rested on, and a way back to it.

let visited = [], place = -1;

function remember(latents) {
  visited = [...visited.slice(0, place + 1), latents].slice(-N_HISTORY);
  place = visited.length - 1;
  $("history").replaceChildren(...visited.map((past, i) => {
    past.canvas ??= forImages();
    const cell = element("button", { className: "cell", title: describe(past), onclick: () => goTo(i) }, past.canvas);
    cell.setAttribute("aria-label", describe(past));
    return cell;
  }));
  $("history").scrollLeft = $("history").scrollWidth;
}

function layOutHistory() {
  visited = [];
  place = -1;
  const latest = () => visited.at(-1);
  addSection(() => [latest()], () => {
    const { canvas, ...latents } = latest();
    return [{ latents, done: (image) => paint(canvas, image) }];
  });
}

function goTo(index) {
  if (index < 0 || index >= visited.length) return;
  place = index;
  show(visited[index]);
}

$("back").onclick = () => goTo(place - 1);
$("forward").onclick = () => goTo(place + 1);
