// An image of the user's: drawn, pasted, dropped or opened; read by Q, and drawn again by G.

const REFINE_MS = 300;
let own = null; // its latents

function layOutOwn() {
  for (const id of ["input", "nearest"]) forImages($(id));
  clearDrawing();
}

function clearDrawing() {
  const context = $("drawing").getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000";
  context.fillRect(0, 0, $("drawing").width, $("drawing").height);
  own = null;
  $("use").disabled = true;
  showReading(model.codes.map(({ size }) => Array(size).fill(0)));
  $("reading").style.visibility = "hidden"; // so that it has its height before there is something to read
  for (const id of ["done", "psnr"]) $(id).textContent = "";
  for (const id of ["input", "nearest"]) forImages($(id));
}

function readSource(source) {
  const { image, done } = toInput(model, source);
  $("done").textContent = `${done}.`;
  if (!image) return;
  paint($("input"), image);
  const reading = read(image);
  showReading(reading);
  $("reading").style.visibility = "visible";
  if (!nets.encoder) return;
  const c = model.codes.flatMap((code, i) => code.kind === "cat"
    ? oneHot(code.size, mostLikely(reading[i]))
    : [Math.max(-RANGE_OF[code.kind], Math.min(RANGE_OF[code.kind], reading[i][0]))]);
  own = refine({ c, z: [...nets.encoder().run(image, 1)], seed: null }, image);
  const nearest = generate([own]);
  paint($("nearest"), nearest);
  $("psnr").textContent = `PSNR ${(10 * Math.log10(4 / meanSquare(nearest, image))).toFixed(1)} dB`;
  $("use").disabled = false;
}

function mostLikely(probabilities) {
  return probabilities.indexOf(Math.max(...probabilities));
}

function showReading(reading) {
  $("reading").replaceChildren(...model.codes.map((code, i) => readingOf(code, reading[i])));
}

function readingOf(code, values) {
  if (code.kind !== "cat") return element("p", { textContent: `${code.title}: ${nameOf(code, values[0])}` });
  const bars = code.values.map((k) => element("div", { className: "bar" },
    element("span", { textContent: nameOf(code, k) }),
    element("span", {}, element("i", { style: `width: ${100 * values[k]}%` })),
    element("span", { textContent: `${(100 * values[k]).toFixed(0)} %` })));
  const title = `Q reads ${code.title} ${nameOf(code, mostLikely(values))}`;
  return element("div", {}, element("h3", { textContent: title }), ...bars);
}

function meanSquare(a, b) {
  return b.reduce((sum, value, i) => sum + (a[i] - value) ** 2, 0) / b.length;
}

// Returns latents whose image is nearer: of small random changes of z, the best is taken, again and again.
function refine(latents, image) {
  const next = random(0), end = performance.now() + REFINE_MS, size = image.length;
  let best = latents, least = meanSquare(generate([best]), image), width = 0.3;
  while (performance.now() < end) {
    const tried = Array.from({ length: BATCH }, () => ({ ...best, z: best.z.map((v) => v + width * normal(next)) }));
    const images = generate(tried);
    const errors = tried.map((_, i) => meanSquare(images.subarray(i * size, (i + 1) * size), image));
    const lowest = Math.min(...errors);
    if (lowest < least) [best, least] = [tried[errors.indexOf(lowest)], lowest];
    else width *= 0.9;
  }
  return best;
}

function openFile(file) {
  if (!file) return;
  const picture = new Image();
  picture.onload = () => {
    clearDrawing();
    const side = $("drawing").width, scale = side / Math.max(picture.naturalWidth, picture.naturalHeight);
    const across = picture.naturalWidth * scale, down = picture.naturalHeight * scale;
    $("drawing").getContext("2d").drawImage(picture, (side - across) / 2, (side - down) / 2, across, down);
    readSource(picture);
    URL.revokeObjectURL(picture.src);
  };
  picture.onerror = () => { $("done").textContent = `${file.name || "That"} is not an image that this browser reads.`; };
  picture.src = URL.createObjectURL(file);
}

let pen = null; // where the stroke is

function drawStroke(event) {
  const box = $("drawing").getBoundingClientRect(), side = $("drawing").width, context = $("drawing").getContext("2d");
  const point = [(event.clientX - box.left) * side / box.width, (event.clientY - box.top) * side / box.height];
  Object.assign(context, { strokeStyle: "#fff", lineWidth: side / 13, lineCap: "round", lineJoin: "round" });
  context.beginPath();
  context.moveTo(...(pen ?? point));
  context.lineTo(...point);
  context.stroke();
  pen = point;
}

$("drawing").onpointerdown = (event) => {
  $("drawing").setPointerCapture(event.pointerId);
  pen = null;
  drawStroke(event);
};
$("drawing").onpointermove = (event) => { if (event.buttons) drawStroke(event); };
$("drawing").onpointerup = () => readSource($("drawing"));
$("clear").onclick = clearDrawing;
$("file").onchange = () => {
  openFile($("file").files[0]);
  $("file").value = "";
};
$("use").onclick = () => {
  show(own, true);
  $("image").scrollIntoView({ block: "center" });
};
document.ondragover = (event) => {
  event.preventDefault();
  $("drawing").classList.add("over");
};
document.ondragleave = () => $("drawing").classList.remove("over");
document.ondrop = (event) => {
  event.preventDefault();
  $("drawing").classList.remove("over");
  openFile(event.dataTransfer.files[0]);
};
document.onpaste = (event) => openFile(event.clipboardData.files[0]);
