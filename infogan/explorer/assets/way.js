// From A to B: two images that are pinned, and the way between their latents.

const WAY_FRAMES = 40;
let pins = { a: null, b: null };
let playing = null;

const wayAt = (t) => between(model, pins.a, pins.b, t, $("noise-path").value, $("category-path").value);
const wayKey = () => [pins.a, pins.b, $("noise-path").value, $("category-path").value];

function layOutWay() {
  for (const id of ["pin-a", "way", "pin-b"]) forImages($(id));
  pins = { a: now, b: anyLatents(now.seed + 1) };
  for (const pin of ["a", "b"]) {
    addSection(() => [pins[pin]], () => [{ latents: pins[pin], done: (image) => {
      paint($(`pin-${pin}`), image);
      $(`pin-${pin}`).setAttribute("aria-label", `${pin.toUpperCase()}: ${describe(pins[pin])}`);
    } }]);
  }
  addSection(() => [...wayKey(), $("t").value], () => [{ latents: wayAt(Number($("t").value)), done: (image) => {
    paint($("way"), image);
    $("way").setAttribute("aria-label", `between A and B, t = ${$("t").value}`);
  } }]);
  const places = Array.from({ length: N_SWEEP }, (_, i) => i / (N_SWEEP - 1)), canvases = places.map(() => forImages());
  $("film").replaceChildren(...places.map((t, i) => cellOf(canvases[i], t.toFixed(1), () => setT(t))));
  addSection(wayKey, () => places.map((t, i) => ({ latents: wayAt(t), done: (image) => paint(canvases[i], image) })));
}

function setT(t) {
  $("t").value = t;
  painter.refresh();
}

function pin(name) {
  pins[name] = now;
  painter.refresh();
}

function play() {
  $("play").textContent = playing ? "Play" : "Stop";
  if (playing) {
    cancelAnimationFrame(playing);
    playing = null;
    return;
  }
  const begun = performance.now();
  const frame = (time) => {
    setT(0.5 - 0.5 * Math.cos((time - begun) / 1000));
    playing = requestAnimationFrame(frame);
  };
  playing = requestAnimationFrame(frame);
}

$("set-a").onclick = () => pin("a");
$("set-b").onclick = () => pin("b");
$("play").onclick = play;
$("take").onclick = () => show(wayAt(Number($("t").value)), true);
for (const id of ["t", "noise-path", "category-path"]) $(id).oninput = () => painter.refresh();
