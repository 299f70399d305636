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

// What is shown, and the canvas that shows it.
class Viewer {
  constructor(content, picture, report) {
    this.content = content;
    this.picture = picture;
    this.report = report;
    this.decoded = new DecodedImages(64);
    this.state = {
      slice: content.start,
      contrast: 0,
      contours: true,
      regions: content.regions.map(() => true),
      map: null,
      mapRegion: 0,
      opacity: 0.6,
    };
    this.drawing = false;
    this.outdated = false;
  }

  set(changes) {
    Object.assign(this.state, changes);
    return this.draw();
  }

  moveTo(slice) {
    const last = this.content.slices - 1;
    return this.set({ slice: Math.min(last, Math.max(0, slice)) });
  }

  // Draw the present state; of changes that arrive while slices are being decoded only the last one is drawn.
  async draw() {
    this.outdated = true;
    if (this.drawing) return;
    this.drawing = true;
    try {
      while (this.outdated) {
        this.outdated = false;
        const state = { ...this.state };
        this.picture.layers = await this.layersOf(state);
        this.picture.paint();
        this.report(state, this.describe(state), this.mapNote(state));
      }
    } finally {
      this.drawing = false;
    }
  }

  async layersOf(state) {
    const contrast = this.content.contrasts[state.contrast];
    const map = this.mapOf(state);
    const [image, overlay] = await Promise.all([
      this.decoded.get(`image ${state.contrast} ${state.slice}`, contrast.slices[state.slice]),
      this.decoded.get(`${state.map} ${state.mapRegion} ${state.slice}`, map && map[state.slice]),
    ]);
    return { image, map: overlay, opacity: state.opacity, contours: this.contoursOf(state) };
  }

  mapOf(state) {
    return state.map && this.content.regions[state.mapRegion][state.map];
  }

  contoursOf(state) {
    if (!state.contours) return [];
    return this.content.regions
      .filter((region, i) => state.regions[i] && region.contours[state.slice])
      .map(({ contours, colour, dashes }) => ({ path: contours[state.slice], colour, dashes }));
  }

  position(state) {
    return this.content.slices > 1 ? `${state.slice + 1} of ${this.content.slices}` : "";
  }

  describe(state) {
    const contrast = this.content.contrasts[state.contrast];
    const position = this.position(state);
    const shown = state.contours ? this.content.regions.filter((region, i) => state.regions[i]) : [];
    const here = shown.filter((region) => region.contours[state.slice]).map((region) => region.name);
    return [
      position ? `${contrast.name}, slice ${position}.` : `${contrast.name}.`,
      contrast.display,
      here.length ? `Contours: ${here.join(", ")}.` : "No contour here.",
    ].join(" ");
  }

  mapNote(state) {
    if (!state.map) return "";
    const region = this.content.regions[state.mapRegion];
    if (!region[state.map]) return `There is no map of the ${state.map} of ${region.name}.`;
    const zero = region[state.map][state.slice] ? "" : " It is 0 all over this slice.";
    return `Shown: ${state.map} of ${region.name}.${zero} The lowest tenth of the scale fades into the image.`;
  }
}
