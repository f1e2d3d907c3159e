// Latents: z and c of one image, as plain arrays. Codes are {name, kind, at, size}, of a kind "cat",
// "uniform", "gaussian" or "circular", which is an angle in half turns and wraps.

const RANGE_OF = { uniform: 1, circular: 1, gaussian: 2.33 }; // the traversal's ends: of N(0, 1), its 1% and 99% quantiles
const LIMIT = 4; // of a value that is typed, beyond the prior

// Returns a generator of numbers in [0, 1) that begins anew with its seed: mulberry32.
function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function normal(next) {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

function drawNoise(model, seed) {
  const next = random(seed);
  return Array.from({ length: model.noise_dim }, () => model.noise === "uniform" ? 2 * next() - 1 : normal(next));
}

function drawCodes(model, next) {
  return model.codes.flatMap((code) => {
    if (code.kind === "cat") return oneHot(code.size, Math.floor(next() * code.size));
    return [rounded(code.kind === "gaussian" ? Math.max(-LIMIT, Math.min(LIMIT, normal(next))) : 2 * next() - 1)];
  });
}

function oneHot(size, category) {
  return Array.from({ length: size }, (_, k) => +(k === category));
}

// The category with the most weight; on the way between two, of a blend, that is the nearer one.
function categoryOf(code, c) {
  const weights = c.slice(code.at, code.at + code.size);
  return weights.indexOf(Math.max(...weights));
}

function withCode(code, c, value) {
  const changed = c.slice();
  changed.splice(code.at, code.size, ...(code.kind === "cat" ? oneHot(code.size, value) : [rounded(value)]));
  return changed;
}

// An angle in half turns, as the same one in [-1, 1).
function wrapped(angle) {
  return angle - 2 * Math.floor((angle + 1) / 2);
}

// As a value stands in the address.
function rounded(value) {
  return Math.round(value * 1e4) / 1e4;
}

// The values that a sweep shows: all categories, or places from one end of the prior to the other.
function sweepValues(code, n = 11) {
  if (code.kind === "cat") return byName(code);
  return Array.from({ length: n }, (_, i) => RANGE_OF[code.kind] * (2 * i / (n - 1) - 1));
}

// Categories in the order of their classes, where these are known.
function byName({ size, labels }) {
  const categories = Array.from({ length: size }, (_, k) => k);
  return labels ? categories.sort((a, b) => labels[a].localeCompare(labels[b], "en", { numeric: true })) : categories;
}

// Spherical linear interpolation (Shoemake 1985); a line where no arc is defined.
function slerp(a, b, t) {
  const dot = (u, v) => u.reduce((sum, value, i) => sum + value * v[i], 0);
  const norms = Math.sqrt(dot(a, a) * dot(b, b));
  const angle = norms ? Math.acos(Math.max(-1, Math.min(1, dot(a, b) / norms))) : 0;
  if (Math.sin(angle) < 1e-4) return lerp(a, b, t);
  return a.map((v, i) => (Math.sin((1 - t) * angle) * v + Math.sin(t * angle) * b[i]) / Math.sin(angle));
}

function lerp(a, b, t) {
  return a.map((value, i) => value * (1 - t) + b[i] * t);
}

// Latents on the way from a (t = 0) to b (t = 1); a category is held, switches midway, or is blended.
function between(model, a, b, t, noisePath, categoryPath) {
  let c = lerp(a.c, b.c, t).map(rounded);
  // An angle goes the shorter way round.
  for (const { kind, at } of model.codes) {
    if (kind === "circular") c[at] = rounded(wrapped(a.c[at] + t * wrapped(b.c[at] - a.c[at])));
  }
  if (categoryPath !== "blend") {
    const end = categoryPath === "switch" && t >= 0.5 ? b.c : a.c;
    for (const code of model.codes) if (code.kind === "cat") c = withCode(code, c, categoryOf(code, end));
  }
  return { c, z: (noisePath === "spherical" ? slerp : lerp)(a.z, b.z, t), seed: null };
}

// The address holds everything: of each code its value, of a blend of categories the weight of each, as in 3:0.4+8:0.6;
// and the noise by its seed, or as float32 where it was read from an image or lies on a way.

function toAddress(model, { c, z, seed }) {
  const codes = model.codes.map((code) => {
    const values = c.slice(code.at, code.at + code.size);
    if (code.kind !== "cat") return rounded(values[0]);
    const weights = values.map((weight, k) => [k, weight]).filter(([, weight]) => weight > 0);
    return weights.length === 1 ? weights[0][0] : weights.map(([k, weight]) => `${k}:${rounded(weight)}`).join("+");
  });
  const noise = seed === null ? `noise=${urlSafe(base64Of(new Uint8Array(Float32Array.from(z).buffer)))}` : `seed=${seed}`;
  return `#model=${encodeURIComponent(model.name)}&codes=${codes.join(",")}&${noise}`;
}

// Returns the latents in an address; null if there are none, or none of this model.
function fromAddress(model, address) {
  const fields = Object.fromEntries(address.replace(/^#/, "").split("&").map((field) => field.split(/=(.*)/)));
  const texts = (fields.codes ?? "").split(",");
  if (decodeURIComponent(fields.model ?? "") !== model.name || texts.length !== model.codes.length) return null;
  const c = model.codes.flatMap((code, i) => codeOf(code, texts[i]));
  const z = fields.seed === undefined ? noiseOf(fields.noise ?? "") : null, seed = seedOf(fields.seed);
  if (!c.every(Number.isFinite) || (seed === null && z?.length !== model.noise_dim)) return null;
  return { c, z: z ?? drawNoise(model, seed), seed };
}

// Returns the columns of a code by its text in an address; NaN where that is no value of it.
function codeOf(code, text) {
  if (code.kind !== "cat") return [text !== "" && Math.abs(Number(text)) <= LIMIT ? Number(text) : NaN];
  const weights = Array(code.size).fill(0);
  for (const part of text.split("+")) {
    const [, k, weight] = /^(\d{1,4})(?::([\d.]{1,8}))?$/.exec(part) ?? [];
    if (!(k < code.size)) return [NaN];
    weights[k] = Number(weight ?? 1);
  }
  return weights;
}

// Returns noise from its text in an address; null where that is none.
function noiseOf(text) {
  try {
    const z = [...new Float32Array(bytesOf(text.replace(/-/g, "+").replace(/_/g, "/")).buffer)];
    return z.every(Number.isFinite) ? z : null;
  } catch {
    return null;
  }
}

function seedOf(text) {
  return /^\d{1,10}$/.test(text ?? "") && Number(text) < 2 ** 32 ? Number(text) : null;
}

function urlSafe(base64) {
  return base64.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
