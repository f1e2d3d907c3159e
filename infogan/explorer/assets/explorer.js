// The page: all that is shown follows from the model, and from `now`, the latents of the large image.

const models = [];
let model, nets; // nets: functions that return each net, made at their first use
let now;
let active; // the code that was moved last

// Each model comes in a script, of this page or beside it.
function addModel(added) {
  const known = models.find(({ name }) => name === added.name);
  if (!known) models.push(added);
  else if (!known.weights) openModel(Object.assign(known, added));
}

function choose(chosen) {
  $("model").value = chosen.name;
  if (chosen.weights) return openModel(chosen);
  $("message").textContent = `Loading ${chosen.name} …`;
  const script = element("script", { src: chosen.file });
  script.onerror = () => { $("message").textContent = `${chosen.file} is missing; it belongs beside this page.`; };
  document.body.append(script);
}

function openModel(opened) {
  $("message").textContent = "";
  model = opened;
  nets = model.loaded ??= loadNets(model);
  for (const code of model.codes) code.values = sweepValues(code, N_SWEEP);
  active = model.codes.find(({ kind }) => kind !== "cat") ?? model.codes[0];
  document.title = `${model.name} – InfoGAN explorer`;
  now = fromAddress(model, location.hash) ?? anyLatents(0);
  sections = [];
  forImages($("image"));
  addSection(() => [now], () => [{ latents: now, done: (image) => paint($("image"), image) }]);
  layOutCodes();
  layOutPad();
  layOutHistory();
  layOutSweeps();
  layOutWay();
  layOutOwn();
  $("about").replaceChildren(...model.about.map(([term, value]) =>
    element("tr", {}, element("th", { scope: "row", textContent: term }), element("td", { textContent: value }))));
  show(now, true);
}

function loadNets({ weights, nets: described }) {
  const halves = new Uint16Array(bytesOf(weights).buffer), wasm = new WebAssembly.Module(bytesOf(MATMUL));
  const lazily = (layers) => {
    let net = null;
    return layers && (() => (net ??= new Net(layers, halves, wasm)));
  };
  return { g: lazily(described.g), q: lazily(described.q), encoder: lazily(described.encoder) };
}

function anyLatents(seed) {
  return { c: drawCodes(model, random(seed ^ 0x5bd1e995)), z: drawNoise(model, seed), seed };
}

// Makes latents the ones that are shown, and, with `keep`, the latest of the history.
function show(latents, keep = false) {
  now = latents;
  if (keep) remember(latents);
  painter.refresh();
  showValues();
}

function moveCode(code, value, keep = true) {
  active = code;
  show({ c: withCode(code, now.c, value), z: now.z, seed: now.seed }, keep);
}

function valueOf(code, c = now.c) {
  return code.kind === "cat" ? categoryOf(code, c) : c[code.at];
}

function nameOf(code, value) {
  return code.kind === "cat" ? code.labels?.[value] ?? String(value) : value.toFixed(2).replace("-", "−");
}

function describe({ c, seed }) {
  const codes = model.codes.map((code) => `${code.name} ${nameOf(code, valueOf(code, c))}`);
  return [...codes, seed === null ? "noise as it was found" : `noise ${seed}`].join(" · ");
}

function showValues() {
  $("caption").textContent = describe(now);
  $("image").setAttribute("aria-label", `generated image: ${describe(now)}`);
  $("seed").value = now.seed ?? "";
  $("back").disabled = place <= 0;
  $("forward").disabled = place >= visited.length - 1;
  for (const code of model.codes) {
    code.box.classList.toggle("active", code === active);
    const value = valueOf(code);
    if (code.kind === "cat") {
      code.cells.forEach((cell, i) => {
        cell.setAttribute("aria-checked", code.values[i] === value);
        cell.tabIndex = code.values[i] === value ? 0 : -1;
      });
    } else {
      code.range.value = value;
      code.range.setAttribute("aria-valuetext", nameOf(code, value));
      if (document.activeElement !== code.number) code.number.value = value.toFixed(2);
    }
  }
  showPad();
  clearTimeout(showValues.timer); // browsers allow some 100 changes of the address in half a minute
  showValues.timer = setTimeout(() => window.history.replaceState(null, "", toAddress(model, now)), 200);
}

function newNoise(seed = Math.floor(Math.random() * 2 ** 32)) {
  show({ c: now.c, z: drawNoise(model, seed), seed }, true);
}

function surprise() {
  const any = anyLatents(Math.floor(Math.random() * 2 ** 32));
  show($("lock").checked ? { c: any.c, z: now.z, seed: now.seed } : any, true);
}

$("new-noise").onclick = () => newNoise();
$("surprise").onclick = surprise;
$("lock").onchange = () => { $("new-noise").disabled = $("seed").disabled = $("lock").checked; };
$("seed").onchange = () => {
  const seed = seedOf($("seed").value);
  if (seed === null) showValues();
  else newNoise(seed);
};
$("model").onchange = () => {
  window.history.replaceState(null, "", "#");
  choose(models.find(({ name }) => name === $("model").value));
};

document.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  const index = model.codes.indexOf(active), category = model.codes.find(({ kind }) => kind === "cat");
  const mark = (code) => {
    active = code;
    showValues();
  };
  const actions = {
    n: () => $("lock").checked || newNoise(), r: surprise, a: () => pin("a"), b: () => pin("b"), p: play,
    ArrowLeft: () => stepCode(active, -1), ArrowRight: () => stepCode(active, 1),
    ArrowUp: () => mark(model.codes.at(index - 1)), ArrowDown: () => mark(model.codes[(index + 1) % model.codes.length]),
  };
  if (/^\d$/.test(event.key) && category) {
    const named = category.labels?.indexOf(event.key) ?? -1, k = named >= 0 ? named : Number(event.key);
    if (k < category.size) moveCode(category, k);
  } else if (event.key in actions) {
    event.preventDefault();
    actions[event.key]();
  }
};

window.onhashchange = () => {
  const latents = fromAddress(model, location.hash);
  if (latents) show(latents, true);
  else choose(modelInAddress() ?? model);
};

function modelInAddress() {
  const wanted = /^#model=([^&]*)/.exec(location.hash)?.[1];
  return models.find(({ name }) => encodeURIComponent(name) === wanted);
}

window.onload = () => {
  for (const { name } of models) $("model").append(new Option(name, name));
  $("models").hidden = models.length < 2;
  choose(modelInAddress() ?? models[0]);
};
