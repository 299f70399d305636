/*
 * Copyright (c) MedSegDiff-MONAI contributors
 * Licensed under the Apache License, Version 2.0 (the "License");
 * you may not use this file except in compliance with the License.
 * You may obtain a copy of the License at
 *     http://www.apache.org/licenses/LICENSE-2.0
 * Unless required by applicable law or agreed to in writing, software
 * distributed under the License is distributed on an "AS IS" BASIS,
 * WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
 * See the License for the specific language governing permissions and
 * limitations under the License.
 */

const find = (id) => document.getElementById(id);
const content = JSON.parse(find("content").textContent);
const canvas = find("picture");
const picture = new Picture(canvas, content);
const slider = find("slice");
const maps = ["probability", "uncertainty"].filter((name) => find(name));

// Controls, caption and the text alternative of the canvas follow what was drawn.
const viewer = new Viewer(content, picture, (state, description, mapNote) => {
  canvas.setAttribute("aria-label", description);
  find("drawn").textContent = description;
  if (find("map-note")) find("map-note").textContent = mapNote;
  if (slider) {
    slider.value = state.slice + 1;
    slider.setAttribute("aria-valuetext", `slice ${viewer.position(state)}`);
    find("slice-value").textContent = viewer.position(state);
  }
});

// Hold the state that the form is in, also after the browser has restored a form of its own.
function readForm() {
  const contrast = document.querySelector('input[name="contrast"]:checked');
  const map = maps.find((name) => find(name).checked) || null;
  viewer.set({
    contrast: contrast ? Number(contrast.value) : 0,
    contours: find("contours").checked,
    regions: [...document.querySelectorAll(".region")].map((box) => box.checked),
    map,
    mapRegion: find("map-region") ? Number(find("map-region").value) : 0,
    opacity: find("opacity") ? find("opacity").value / 100 : 0,
  });
  if (find("opacity")) find("opacity-value").textContent = `${find("opacity").value} %`;
}

// One map at a time: one colour over another can be read as neither.
function toggleMap(name) {
  for (const other of maps) if (other !== name) find(other).checked = false;
  readForm();
}

function press(id) {
  if (find(id)) find(id).click();
}

function nextMapRegion() {
  const choice = find("map-region");
  if (!choice) return;
  choice.selectedIndex = (choice.selectedIndex + 1) % choice.options.length;
  readForm();
}

function fit() {
  picture.fit();
  picture.moveBy(0, 0);
}

const shortcuts = {
  c: () => press("contours"),
  p: () => press("probability"),
  u: () => press("uncertainty"),
  r: nextMapRegion,
  f: fit,
  "+": () => picture.zoomBy(1.25),
  "=": () => picture.zoomBy(1.25),
  "-": () => picture.zoomBy(0.8),
};
const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
const shifts = { ArrowUp: [0, 0.05], ArrowDown: [0, -0.05], ArrowLeft: [0.05, 0], ArrowRight: [-0.05, 0] };

// Keys that move things work on the image and where nothing has the focus: elsewhere they belong to the control.
function moveByKey(event) {
  if (event.shiftKey) {
    if (!(event.key in shifts) || picture.zoom === 1) return false;
    picture.moveBy(...shifts[event.key]);
    return true;
  }
  if (content.slices === 1) return false;
  if (event.key in steps) viewer.moveTo(viewer.state.slice + steps[event.key]);
  else if (event.key === "Home") viewer.moveTo(0);
  else if (event.key === "End") viewer.moveTo(content.slices - 1);
  else return false;
  return true;
}

function pressShortcut(event) {
  if (!find("shortcuts").checked || event.target.tagName === "SELECT") return false;
  const contrast = document.querySelector(`input[name="contrast"][value="${Number(event.key) - 1}"]`);
  if (/^[1-9]$/.test(event.key) && contrast) contrast.click();
  else if (Object.hasOwn(shortcuts, event.key.toLowerCase())) shortcuts[event.key.toLowerCase()]();
  else return false;
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onImage = event.target === canvas || event.target === document.body;
  if ((onImage && moveByKey(event)) || pressShortcut(event)) event.preventDefault();
});

// A wheel turns slice by slice, a touchpad after a finger's way of some length.
let turned = 0;
canvas.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && content.slices === 1) return;
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  if (event.ctrlKey) {
    const pointX = (event.clientX - box.left) / box.width - 0.5;
    const pointY = (event.clientY - box.top) / box.height - 0.5;
    picture.zoomBy(event.deltaY < 0 ? 1.25 : 0.8, pointX, pointY);
    return;
  }
  turned += event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY / 50 : Math.sign(event.deltaY);
  const whole = Math.sign(turned) * Math.min(1, Math.floor(Math.abs(turned)));
  if (whole !== 0) {
    turned = 0;
    viewer.moveTo(viewer.state.slice - whole);
  }
}, { passive: false });

canvas.addEventListener("pointerdown", (event) => {
  if (picture.zoom === 1 || event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  canvas.classList.add("moving");
});
canvas.addEventListener("pointermove", (event) => {
  if (!canvas.classList.contains("moving")) return;
  picture.moveBy(event.movementX / canvas.clientWidth, event.movementY / canvas.clientHeight);
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, () => canvas.classList.remove("moving"));
}

document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
document.querySelector("form").addEventListener("input", (event) => {
  if (maps.includes(event.target.id)) toggleMap(event.target.id);
  else readForm();
});
if (slider) slider.addEventListener("input", () => viewer.moveTo(Number(slider.value) - 1));
find("fit").addEventListener("click", fit);
find("zoom-in").addEventListener("click", () => picture.zoomBy(1.25));
find("zoom-out").addEventListener("click", () => picture.zoomBy(0.8));
picture.resize();
readForm();
