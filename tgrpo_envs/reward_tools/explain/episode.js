// Keeps video, slider, timeline and explanation at one moment. All text was written when the page was; it only
// enters the page as text, never as markup.
"use strict";

const trace = JSON.parse(document.getElementById("trace").textContent);
const byId = (id) => document.getElementById(id);
const video = document.querySelector(".watch video");
const slider = byId("slider");
const last = trace.explanations.length - 1; // moment 0 is the reset, moment m the end of step m
let moment = -1;
let timer = null; // runs while the page plays

function element(tag, text, className) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function list(lines) {
  const made = document.createElement("ul");
  made.append(...lines.map((line) => element("li", line)));
  return made;
}

function explain(told) {
  const panel = byId("why");
  panel.dataset.tone = told.tone;
  panel.replaceChildren(element("h2", told.headline));
  for (const [heading, lines] of told.causes) {
    panel.append(element("p", heading, "cause"), list(lines));
  }
  if (!told.causes.length && told.tone === "none") {
    panel.append(element("p", "Nothing that the stages ask for changed at this step.", "muted"));
  }
  if (told.sums.length) {
    const sums = element("div", "", "sums");
    sums.append(...told.sums.map((line) => element("p", line)));
    panel.append(sums);
  }
  panel.scrollTop = 0;
}

function show(wanted, { seek = true } = {}) {
  const next = Math.max(0, Math.min(last, wanted));
  if (next === moment) return;
  moment = next;
  slider.value = String(moment);
  byId("clock").textContent = `step ${moment} of ${last}, ${(moment / trace.fps).toFixed(2)} s`;
  byId("cursor").style.left = `${(100 * Math.max(0, moment - 0.5)) / Math.max(1, last)}%`;
  explain(trace.explanations[moment]);
  for (const [id, texts] of Object.entries(trace.readings)) byId(id).textContent = texts[moment];
  trace.states.forEach((states, k) => { byId(`node-${k}`).dataset.state = states[moment]; });
  for (const row of document.querySelectorAll(".paid tbody tr")) {
    row.classList.toggle("current", Number(row.dataset.moment) === moment);
  }
  if (seek && video) video.currentTime = (moment + 0.5) / trace.fps;
}

function pause() {
  if (video) video.pause();
  clearInterval(timer);
  timer = null;
  byId("play").textContent = "Play";
}

function play() {
  if (moment === last) show(0);
  if (video) video.play();
  timer = setInterval(follow, 1000 / trace.fps);
  byId("play").textContent = "Pause";
}

function follow() {
  if (moment === last || (video && video.ended)) pause();
  else show(video ? Math.floor(video.currentTime * trace.fps) : moment + 1, { seek: false });
}

function jump(wanted) {
  pause();
  if (wanted !== undefined) show(wanted);
}

slider.addEventListener("input", () => jump(Number(slider.value)));
byId("play").addEventListener("click", () => (timer ? pause() : play()));
byId("back").addEventListener("click", () => jump(moment - 1));
byId("next").addEventListener("click", () => jump(moment + 1));
byId("paid-back").addEventListener("click", () => jump(trace.paid.findLast((m) => m < moment)));
byId("paid-next").addEventListener("click", () => jump(trace.paid.find((m) => m > moment)));
for (const row of document.querySelectorAll(".paid tbody tr")) {
  row.addEventListener("click", () => jump(Number(row.dataset.moment)));
}

const layer = byId("layer");
function scrub(event) {
  const box = layer.getBoundingClientRect();
  jump(Math.ceil(((event.clientX - box.left) / box.width) * last));
}
layer.addEventListener("pointerdown", (event) => { layer.setPointerCapture(event.pointerId); scrub(event); });
layer.addEventListener("pointermove", (event) => { if (event.buttons) scrub(event); });

// "#step=30" in the address opens the page at that step; otherwise at the first that paid.
const asked = Number(new URLSearchParams(location.hash.slice(1)).get("step") ?? NaN);
show(Number.isNaN(asked) ? trace.paid[0] ?? 0 : asked);
