// The page of `gallop serve`: asks for clips, follows them, shows what there is. All paths are relative to the page, so
// that it works behind a prefix. What the server or the user wrote gets into the page as text only.

const $ = (id) => document.getElementById(id);

/** An element with properties and children. */
function el(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Puts `text` where it differs, so that nothing is read aloud twice. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function show(element, isShown) {
  element.hidden = !isShown;
}

/** Shows an element with `text`, or none. */
function tell(element, text = "") {
  put(element, text);
  show(element, text);
}

/** Makes `list` hold a line for each of `texts`. */
function fill(list, texts) {
  const key = JSON.stringify(texts);
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...texts.map((text) => el("li", { textContent: text })));
}

const announce = (text) => put($("live"), text);

// ---- Calls

/** What the server said, in its own words; without a status it could not be reached. */
class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the server answered ${status}`);
    Object.assign(this, { status, param: error?.param });
  }
}

let isAway = false;

function setAway(now) {
  if (now === isAway) return;
  isAway = now;
  tell($("banner"), now ? "The server is away. This page goes on when it is back." : "");
  showServer();
  if (now) return;
  // It may have come back with another model; and a clip that broke off can be had again.
  model = null;
  const video = document.querySelector("#screen video");
  if (video?.error) video.load();
}

/** Whole numbers that a double cannot hold, such as seeds, stay text. */
const exact = (_, value, context) =>
  Number.isInteger(value) && !Number.isSafeInteger(value) ? (context?.source ?? value) : value;
const parse = (text) => JSON.parse(text, exact);

/** The object of an answer, unless it breaks off. */
async function json(answer) {
  const text = await answer.text().catch(() => {
    throw new Refused(0);
  });
  return parse(text);
}

/** A call with the key, which is asked for when the server wants one. */
async function call(path, options = {}) {
  for (;;) {
    const key = sessionStorage.getItem("key");
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const answer = await fetch(path, { ...options, headers }).catch((problem) => {
      if (problem.name === "AbortError") throw problem;
    });
    // The last two are a proxy's words for a server that is away.
    setAway(!answer || answer.status === 502 || answer.status === 504);
    if (isAway) throw new Refused(0);
    if (answer.ok) return answer;
    const { error } = await answer.json().catch(() => ({}));
    if (answer.status !== 401) throw new Refused(answer.status, error);
    await askKey(key, error?.message);
  }
}

let keyGiven = null;

/** Waits for another key than `used`; all calls that wait share one question. */
function askKey(used, reason) {
  if (sessionStorage.getItem("key") !== used) return null;
  keyGiven ??= new Promise((resolve) => {
    tell($("keys-reason"), used === null ? "" : reason);
    $("key").value = "";
    $("keys").onclose = () => {
      const key = $("key").value.trim();
      // Nothing works without a key, and a header cannot carry other characters.
      if (!/^[\x20-\x7e]+$/.test(key)) return $("keys").showModal();
      sessionStorage.setItem("key", key);
      keyGiven = null;
      resolve();
    };
    $("keys").showModal();
  });
  return keyGiven;
}

/** A URL of the server relative to the page: the same origin, whatever name the server gives itself. */
const local = (url) => url.replace(/^.*?\/(?=v1\/)/, "");

/** A file that needs the key, for an element that cannot send it. */
async function blobOf(path) {
  const blob = await (await call(path)).blob();
  return { url: URL.createObjectURL(blob), isVideo: blob.type.startsWith("video/") };
}

/** The events of a stream, as they come. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let piece; !(piece = await reader.read()).done; ) {
    const blocks = (rest + piece.value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) {
      const { event, data } = Object.fromEntries([...block.matchAll(/^(\w+): ?(.*)$/gm)].map((found) => found.slice(1)));
      if (data) yield { event, data: parse(data) };
    }
  }
}

// ---- Jobs

/** The jobs that are known, by id. Ids sort by age. */
const jobs = new Map();
/** What only events tell: step, steps, the stages so far, the preview. */
const lives = new Map();
/** Streams that are read, by job. */
const followers = new Map();
/** Browsers hold six connections to a server at most; the clip and the calls need some. */
const MAX_FOLLOWERS = 3;
const PAGE = 20;
let model = null;
let hasOlder = false;

const isRunning = (job) => job.status === "in_progress";
const isActive = (job) => isRunning(job) || job.status === "queued";
const isCancelled = (job) => job.error?.code === "cancelled";
const sorted = () => [...jobs.values()].sort((a, b) => (a.id < b.id ? 1 : -1));

/** Takes news of a job, unless what is known is newer: answers overtake each other. */
function take(job) {
  const known = jobs.get(job.id);
  if (known && !isActive(known) && isActive(job)) return;
  const isSameRun = known?.status === job.status && known.attempts === job.attempts;
  if (isSameRun && known.progress > job.progress) return;
  if (known && isActive(known) && !isActive(job)) {
    announce(job.error?.message ?? "The clip is finished.");
    followers.get(job.id)?.abort();
  }
  if (!lives.has(job.id)) lives.set(job.id, { stages: [] });
  jobs.set(job.id, job);
  if (job.stage) noteStage(job);
}

function noteStage(job) {
  const { stages } = lives.get(job.id);
  const stage = stageName(job.stage);
  if (stages.at(-1) === stage) return;
  // Work that begins again begins with the first stage.
  if (stages.includes(stage)) stages.length = stages.indexOf(stage);
  stages.push(stage);
  if (job.id === selected) announce(stage);
}

function forget(id) {
  followers.get(id)?.abort();
  URL.revokeObjectURL(lives.get(id)?.preview?.url);
  lives.delete(id);
  jobs.delete(id);
}

/** Makes the newest jobs what the server says, and forgets those that are gone. */
async function refresh() {
  if (!model) await loadModel();
  const before = [...jobs.keys()];
  const limit = Math.min(100, Math.max(PAGE, jobs.size));
  const page = await json(await call(`v1/videos?limit=${limit}`));
  const there = new Set(page.data.map((job) => job.id));
  for (const id of before) {
    if (!there.has(id) && (!page.has_more || id > page.last_id)) forget(id);
  }
  page.data.forEach(take);
  if ((sorted().at(-1)?.id ?? null) === page.last_id) hasOlder = page.has_more;
  render();
}

async function loadOlder() {
  const page = await json(await call(`v1/videos?limit=${PAGE}&after=${sorted().at(-1).id}`));
  page.data.forEach(take);
  hasOlder = page.has_more;
  render();
  // The keyboard goes on where the list goes on.
  if (page.data[0]) rows.get(page.data[0].id).firstChild.focus();
}

let timer;
let isLooking = false;

/** Looks at the list now, and again after a while. */
async function look() {
  if (isLooking) return;
  isLooking = true;
  clearTimeout(timer);
  try {
    await refresh();
    tell($("banner"));
  } catch (problem) {
    complain(problem, $("banner"));
  } finally {
    isLooking = false;
    const isLively = isAway || [...jobs.values()].some(isActive);
    timer = setTimeout(look, isLively ? 2000 : 10000);
  }
  followActive();
}

/** Shows what the server said. Faults of the page itself go to the console. */
function complain(problem, where) {
  if (!(problem instanceof Refused)) throw problem;
  if (problem.status) tell(where, problem.message);
}

function followActive() {
  const active = sorted().reverse().filter(isActive);
  // Those that run are the first.
  active.sort((a, b) => isRunning(b) - isRunning(a));
  for (const { id } of isAway ? [] : active.slice(0, MAX_FOLLOWERS)) {
    if (!followers.has(id) && followers.size < MAX_FOLLOWERS) follow(id);
  }
}

/** Reads the events of a job. EventSource would be shorter, but cannot send a key. */
async function follow(id) {
  const stop = new AbortController();
  followers.set(id, stop);
  try {
    const { body } = await call(`v1/videos/${id}/events`, { signal: stop.signal });
    for await (const { event, data } of events(body)) hear(id, event, data);
  } catch {
    // The list tells what has become of the job, or that the server is away.
  }
  // What broke off is not tried again at once.
  if (jobs.has(id) && isActive(jobs.get(id))) await new Promise((resolve) => setTimeout(resolve, 1000));
  followers.delete(id);
  look();
}

function hear(id, event, data) {
  const job = jobs.get(id);
  if (!job) return;
  if (event === "preview") {
    showPreview(id, data.url).catch(() => {});
  } else if (event === "done") {
    if (data.deleted) forget(id);
    else take(data);
  } else if (event === "progress" && data.stage) {
    Object.assign(lives.get(id), { step: data.step, steps: data.steps });
    take({ ...job, status: "in_progress", progress: data.progress, stage: data.stage });
  }
  render();
}

async function showPreview(id, url) {
  const preview = await blobOf(local(url));
  const live = lives.get(id);
  URL.revokeObjectURL(live.preview?.url);
  live.preview = preview;
  render();
}

async function loadModel() {
  const { data } = await json(await call("v1/models"));
  model = data[0];
  const { sizes, seconds } = model.capabilities;
  const option = (size) => (size === "WIDTHxHEIGHT" ? new Option("other…", "other") : new Option(sizeText(size), size));
  const chosen = $("size").value;
  $("size").replaceChildren(new Option("auto", ""), ...sizes.map(option));
  $("size").value = chosen;
  if ($("size").selectedIndex < 0) $("size").value = "";
  $("seconds").placeholder = `max ${seconds.max}`;
  showServer();
}

// ---- Words

const STAGES = {
  text: "Text encoding",
  image: "Picture encoding",
  voice: "Voice encoding",
  base: "Base pass",
  "super resolution": "Super-resolution",
  "decode video": "Video decoding",
  "decode audio": "Audio decoding",
  mux: "Encoding and MP4",
};

/** Events, jobs and timings write the name of a stage in three ways. */
function stageName(stage) {
  const name = stage.replace(/[_-]/g, " ");
  return STAGES[name] ?? name;
}

const sizeText = (size) => size.replace("x", " × ");

function duration(seconds) {
  if (seconds < 0.0995) return `${(1000 * seconds).toPrecision(2)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 9.995 ? 2 : 1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

const bytesText = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function when(seconds) {
  const date = new Date(1000 * seconds);
  const time = { hour: "2-digit", minute: "2-digit" };
  const day = date.toDateString() !== new Date().toDateString() && { day: "numeric", month: "short" };
  return date.toLocaleString([], { ...day, ...time });
}

function statusText(job) {
  if (job.status === "queued") return job.queue_position ? `Waiting, ${job.queue_position} ahead` : "Waiting";
  if (isRunning(job)) return `${job.progress} %`;
  if (job.status === "failed") return isCancelled(job) ? "Cancelled" : "Failed";
  return `${sizeText(job.size)}, ${job.seconds} s`;
}

// ---- What is seen

let selected = null;

function render() {
  const all = sorted();
  const wanted = location.hash.slice(1);
  const before = selected;
  // What is looked at stays, whatever others ask for.
  selected = [wanted, before, all[0]?.id].find((id) => jobs.has(id));
  if (selected !== before) {
    disarm();
    tell($("trouble"));
  }
  show($("empty"), model && !all.length);
  show($("viewer"), selected);
  show($("history"), selected);
  if (selected) renderJob(jobs.get(selected));
  renderList(all);
  const running = all.find(isRunning);
  document.title = running ? `${running.progress} % · gallop` : "gallop";
}

function showServer() {
  put($("server"), isAway ? "away" : (model?.id ?? "connecting…"));
  $("server").classList.toggle("ready", Boolean(model) && !isAway);
}

function renderJob(job) {
  const file = job.status === "completed" && job.file;
  renderScreen(job, file);
  renderProgress(job);
  put($("title"), job.prompt);
  $("title").classList.toggle("long", job.prompt.length > 150);
  tell($("failure"), job.error?.message);
  $("failure").classList.toggle("mild", isCancelled(job));
  fill($("warnings"), job.warnings.map((warning) => warning.message));
  show($("download"), file);
  if (file) Object.assign($("download"), { href: local(file.url), download: `${job.id}.mp4` });
  // A button that goes would take the keyboard's place with it.
  if (!isActive(job) && document.activeElement === $("cancel")) $("reuse").focus();
  show($("cancel"), isActive(job));
  renderFacts(job);
  renderCharts(job);
}

/** The clip, else the preview, else noise that clears as the work goes on. What plays is left alone. */
function renderScreen(job, file) {
  const screen = $("screen");
  const { preview } = lives.get(job.id);
  const [width, height] = job.size.split("x").map(Number);
  const shown = file ? local(file.url) : isActive(job) ? (preview?.url ?? "noise") : "";
  show(screen, shown);
  screen.style.aspectRatio = `${width} / ${height}`;
  const key = `${job.id} ${shown}`;
  if (screen.dataset.key !== key) {
    screen.dataset.key = key;
    if (!shown) screen.replaceChildren();
    else if (shown === "noise") screen.replaceChildren(noise(width, height));
    else if (file || preview.isVideo) screen.replaceChildren(player("video", shown, file ? "The clip" : "Preview"));
    else screen.replaceChildren(el("img", { src: shown, alt: "Preview" }));
  }
  if (shown === "noise") drawNoise(screen.firstChild, job.progress / 100);
}

const player = (kind, src, ariaLabel) =>
  el(kind, { src, ariaLabel, controls: true, loop: kind === "video", playsInline: true, preload: "auto" });

function noise(width, height) {
  const scale = Math.sqrt(2400 / (width * height));
  return el("canvas", { className: "noise", width: Math.ceil(width * scale), height: Math.ceil(height * scale) });
}

/** Cells that go from chance to order: what the model does with its latents, in small. */
function drawNoise(canvas, progress) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  context.fillStyle = getComputedStyle(canvas).color;
  const clear = 0.15 + 0.8 * progress;
  let state = 1;
  for (let cell = 0; cell < width * height; cell++) {
    const x = (cell % width) / width;
    const y = Math.floor(cell / width) / height;
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    const chance = (state >>> 8) / 2 ** 24;
    const hill = 0.62 + 0.16 * Math.sin(9 * x) + 0.06 * Math.sin(21 * x);
    const order = y > hill ? 0.75 : 0.12 + 0.25 * y;
    context.globalAlpha = 0.75 * (chance + clear * (order - chance));
    context.fillRect(cell % width, Math.floor(cell / width), 1, 1);
  }
}

function renderProgress(job) {
  show($("running"), isActive(job));
  if (!isActive(job)) return;
  const { step, steps, stages } = lives.get(job.id);
  const stage = job.stage ? stageName(job.stage) : "Starting";
  const count = steps > 1 ? `, ${Math.min(step + 1, steps)} of ${steps}` : "";
  $("bar").value = job.progress;
  put($("stage"), isRunning(job) ? stage + count : statusText(job));
  put($("percent"), isRunning(job) ? statusText(job) : "");
  fill($("trail"), isRunning(job) ? stages.slice(0, -1) : []);
}

function renderFacts(job) {
  const work = Object.values(job.timings).reduce((sum, seconds) => sum + seconds, 0);
  const facts = {
    Size: `${sizeText(job.size)} pixels`,
    Length: `${job.seconds} s`,
    Seed: String(job.seed),
    Model: job.model,
    Asked: when(job.created_at),
    "Made in": work && duration(work),
    File: job.file && bytesText(job.file.bytes),
    "Kept until": job.expires_at && when(job.expires_at),
  };
  const key = JSON.stringify(facts);
  if ($("facts").dataset.key === key) return;
  $("facts").dataset.key = key;
  const known = Object.entries(facts).filter(([, value]) => value);
  const fact = ([name, value]) => el("div", {}, el("dt", { textContent: name }), el("dd", { textContent: value }));
  $("facts").replaceChildren(...known.map(fact));
}

/** Where the time went; an operation's floor is the least time that the device allows. */
function renderCharts(job) {
  const charts = $("charts");
  const key = isActive(job) ? "" : job.id;
  if (charts.dataset.key === key) return;
  charts.dataset.key = key;
  charts.replaceChildren();
  if (!key) return;
  const stages = Object.entries(job.timings).map(([name, seconds]) => [stageName(name), seconds]);
  const ops = (job.ops ?? []).map(({ op, seconds, floor_seconds }) => [op, seconds, floor_seconds]);
  ops.sort((a, b) => b[1] - a[1]);
  if (stages.length) charts.append(chart("Time by stage", stages));
  if (ops.length) charts.append(chart("Time by operation; the mark is its floor", ops.slice(0, 16)));
}

function chart(caption, lines) {
  const most = Math.max(...lines.flatMap(([, seconds, floor = 0]) => [seconds, floor])) || 1;
  const row = ([name, seconds, floor]) => {
    const bar = el("span", {}, el("i"));
    bar.style.setProperty("--part", seconds / most);
    if (floor) {
      bar.append(el("b"));
      bar.style.setProperty("--floor", floor / most);
    }
    const text = duration(seconds) + (floor ? `, floor ${duration(floor)}` : "");
    const part = el("td", { className: "part", ariaHidden: "true" }, bar);
    return el("tr", {}, el("th", { scope: "row", textContent: name }), part, el("td", { textContent: text }));
  };
  return el("table", {}, el("caption", { textContent: caption }), el("tbody", {}, ...lines.map(row)));
}

/** Rows of the list, by job; kept, so that the keyboard's place in it is. */
const rows = new Map();

function renderList(all) {
  for (const [id, row] of rows) {
    if (jobs.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  all.forEach((job, index) => {
    if (!rows.has(job.id)) rows.set(job.id, newRow(job));
    const row = rows.get(job.id);
    renderRow(row, job);
    const there = $("list").children[index];
    if (there !== row) $("list").insertBefore(row, there ?? null);
  });
  show($("older"), hasOlder);
}

function newRow(job) {
  const bar = el("progress", { max: 100, ariaHidden: "true" });
  const words = el("span", { className: "words" }, el("b", { textContent: job.prompt }), el("small"), bar);
  return el("li", {}, el("a", { href: `#${job.id}` }, el("span", { className: "thumb", ariaHidden: "true" }), words));
}

function renderRow(row, job) {
  const [thumb, words] = row.firstChild.children;
  const [, status, bar] = words.children;
  row.firstChild.ariaCurrent = job.id === selected ? "true" : null;
  put(status, `${statusText(job)} · ${when(job.created_at)}`);
  row.className = isCancelled(job) ? "cancelled" : job.status;
  show(bar, isRunning(job));
  bar.value = job.progress;
  if (job.status === "completed" && !thumb.dataset.asked) loadThumbnail(thumb, job.id);
}

async function loadThumbnail(thumb, id) {
  thumb.dataset.asked = "yes";
  try {
    const { url } = await blobOf(`v1/videos/${id}/content?variant=thumbnail`);
    thumb.replaceChildren(el("img", { src: url, alt: "", onload: () => URL.revokeObjectURL(url) }));
  } catch {
    // The row is as good without; if the server was away, it is tried again.
    if (isAway) delete thumb.dataset.asked;
  }
}

// ---- What the user does

const FILES = ["input_reference", "audio_reference"];

/** The values that are given. Whether they are right is the server's to say. */
function formData() {
  const data = new FormData();
  data.append("prompt", $("prompt").value);
  const add = (name, value) => value && data.append(name, value);
  add("size", $("size").value === "other" ? $("other-size").value.trim() : $("size").value);
  for (const id of ["seconds", "seed", "num_inference_steps", "negative_prompt"]) add(id, $(id).value.trim());
  for (const id of FILES) add(id, $(id).files[0]);
  return data;
}

async function submit(event) {
  event.preventDefault();
  if ($("make").ariaDisabled === "true") return;
  setSending(true);
  refuse({});
  try {
    const job = await json(await call("v1/videos", { method: "POST", body: formData() }));
    take(job);
    announce("The clip was asked for.");
    location.hash = job.id;
    followActive();
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    refuse(problem.status ? problem : { message: "The server is away; the clip was not asked for." });
  } finally {
    setSending(false);
  }
}

function setSending(now) {
  $("make").ariaDisabled = String(now);
  put($("make"), now ? "Sending…" : "Make the clip");
}

/** Shows why the server refused, at the field that it is about. */
function refuse({ message, param }) {
  tell($("refusal"), message);
  $("ask").querySelector("[aria-invalid]")?.removeAttribute("aria-invalid");
  const field = param === "size" && $("size").value === "other" ? $("other-size") : $(param);
  if (!field?.matches("#ask .field *, #ask .slot *")) return;
  field.closest("details")?.setAttribute("open", "");
  field.ariaInvalid = "true";
  field.focus();
}

/** Does something with the selected job and shows what the server says against it. */
async function act(work) {
  tell($("trouble"));
  try {
    await work(selected);
  } catch (problem) {
    complain(problem, $("trouble"));
  }
  look();
}

async function cancel(id) {
  take(await json(await call(`v1/videos/${id}/cancel`, { method: "POST" })));
  render();
}

let isArmed = false;
let disarming;

/** A clip cannot be had back, so that the second press within a moment counts. */
function pressDelete() {
  if (isArmed) {
    disarm();
    act(remove);
    return;
  }
  arm(true);
  announce("Press again to delete the clip for good.");
  disarming = setTimeout(disarm, 5000);
}

function arm(now) {
  clearTimeout(disarming);
  isArmed = now;
  put($("delete"), now ? "Delete for good?" : "Delete");
  $("delete").classList.toggle("danger", now);
}

const disarm = () => arm(false);

async function remove(id) {
  await call(`v1/videos/${id}`, { method: "DELETE" });
  forget(id);
  announce("The clip is deleted.");
  history.replaceState(null, "", "#");
  render();
  (rows.get(selected)?.firstChild ?? $("prompt")).focus();
}

/** Fills the form with what made the selected clip. */
function reuse() {
  const { prompt, size, seconds, seed } = jobs.get(selected);
  for (const [id, value] of Object.entries({ prompt, seconds, seed, size, "other-size": size })) $(id).value = value;
  if (!$("size").value) $("size").value = "other";
  showOther();
  $("prompt").focus();
}

const showOther = () => show($("other"), $("size").value === "other");

/** In a narrow window what was chosen may be out of sight. */
function showSelected() {
  render();
  if ($("list").contains(document.activeElement)) $("viewer").focus({ preventScroll: true });
  const { top } = $("viewer").getBoundingClientRect();
  if (top < 0 || top > 0.6 * innerHeight) $("viewer").scrollIntoView();
}

// ---- Files

/** Shows the file of a slot, so that it is seen before it is sent. */
function showFile(input) {
  const slot = input.closest(".slot");
  const chosen = slot.querySelector(".chosen");
  const file = input.files[0];
  URL.revokeObjectURL(chosen.firstChild?.src);
  chosen.replaceChildren();
  slot.classList.toggle("full", Boolean(file));
  show(chosen, file);
  if (!file) return;
  const src = URL.createObjectURL(file);
  const isPicture = input.id === FILES[0];
  const drop = el("button", { type: "button", textContent: isPicture ? "Remove picture" : "Remove voice" });
  drop.onclick = () => {
    input.value = "";
    showFile(input);
    input.focus();
  };
  const view = isPicture ? el("img", { src, alt: "" }) : player("audio", src, "The voice track");
  chosen.append(view, el("span", { textContent: `${file.name}, ${bytesText(file.size)}` }), drop);
}

function dropFiles(event) {
  event.preventDefault();
  document.body.classList.remove("dragging");
  const below = event.target.closest?.(".slot")?.querySelector("input");
  for (const file of event.dataTransfer.files) {
    const input = below ?? $(FILES[file.type.startsWith("image/") ? 0 : 1]);
    const one = new DataTransfer();
    one.items.add(file);
    input.files = one.files;
    showFile(input);
  }
}

function dragOver(event) {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dragging");
}

// ---- Start

function start() {
  $("ask").onsubmit = submit;
  $("ask").onkeydown = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("ask").requestSubmit();
  };
  $("size").onchange = showOther;
  $("cancel").onclick = () => act(cancel);
  $("delete").onclick = pressDelete;
  $("reuse").onclick = reuse;
  $("older").onclick = () => act(loadOlder);
  // After a reload browsers keep what was chosen.
  showOther();
  for (const id of FILES) {
    $(id).onchange = () => showFile($(id));
    showFile($(id));
  }
  $("examples").onclick = ({ target }) => {
    if (!target.matches("button")) return;
    $("prompt").value = target.textContent;
    $("prompt").focus();
  };
  addEventListener("dragover", dragOver);
  addEventListener("drop", dropFiles);
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
  addEventListener("hashchange", showSelected);
  drawNoise(document.querySelector("canvas"), 0.7);
  // Without it browsers ask for a file that there is not.
  const icon = new Blob([$("mark").outerHTML], { type: "image/svg+xml" });
  document.head.append(el("link", { rel: "icon", href: URL.createObjectURL(icon) }));
  look();
}

start();
