// What can be taken away: PNG, GIF, JSON, and the link.

const GIF_FRAME_MS = 60;
const SAVED_SIDE_PX = 256; // small images are enlarged to about this

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function enlarged(latents) {
  const small = forImages(), scale = Math.max(1, Math.floor(SAVED_SIDE_PX / Math.max(small.width, small.height)));
  paint(small, generate([latents]));
  const canvas = canvasOf(small.width * scale, small.height * scale), context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function saveGif(latents, name) {
  const frames = latents.map((each) => {
    const canvas = enlarged(each);
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  });
  save(gif(frames, GIF_FRAME_MS), name);
}

function thereAndBack(n) {
  return Array.from({ length: n }, (_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / n));
}

function sweepFrames(code) {
  const at = (value) => ({ ...now, c: withCode(code, now.c, value) });
  if (code.kind === "cat") return code.values.flatMap((k) => Array(8).fill(at(k)));
  return thereAndBack(WAY_FRAMES).map((u) => at(RANGE_OF[code.kind] * (2 * u - 1)));
}

$("save-png").onclick = () => enlarged(now).toBlob((blob) => save(blob, `${model.name}.png`));
$("save-gif").onclick = () => saveGif(sweepFrames(active), `${model.name}-${active.name}.gif`);
$("save-way").onclick = () => saveGif(thereAndBack(WAY_FRAMES).map(wayAt), `${model.name}-a-to-b.gif`);
$("save-json").onclick = () => {
  const codes = Object.fromEntries(model.codes.map((code) => [code.name, valueOf(code)]));
  const latents = { model: model.name, step: model.step, codes, seed: now.seed, c: now.c, z: now.z };
  save(new Blob([JSON.stringify(latents, null, 2)], { type: "application/json" }), `${model.name}.json`);
};
$("copy-link").onclick = async () => {
  const link = location.href.replace(/#.*/, "") + toAddress(model, now);
  try {
    await navigator.clipboard.writeText(link);
    $("copied").textContent = "copied";
  } catch {
    $("copied").textContent = "not allowed here: copy the address";
  }
  setTimeout(() => { $("copied").textContent = ""; }, 4000);
};
