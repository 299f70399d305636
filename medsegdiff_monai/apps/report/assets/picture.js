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

"use strict";

// Decoded slices, the least recently shown ones dropped, so that a long series does not fill the memory.
class DecodedImages {
  constructor(limit) {
    this.limit = limit;
    this.images = new Map();
  }

  async get(key, base64) {
    if (!base64) return null;
    const kept = this.images.get(key);
    if (kept) {
      this.images.delete(key);
      this.images.set(key, kept);
      return kept;
    }
    const image = new Image();
    image.src = "data:image/png;base64," + base64;
    await image.decode();
    this.images.set(key, image);
    if (this.images.size > this.limit) this.images.delete(this.images.keys().next().value);
    return image;
  }
}

// The canvas: image, map, contours, the patient's sides and a scale bar, at any zoom.
class Picture {
  constructor(canvas, content) {
    this.canvas = canvas;
    this.content = content;
    this.layers = null;
    this.fit();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  // Zoom 1 is the whole image; the shift is in shares of the canvas, so that it outlives a resize.
  fit() {
    this.zoom = 1;
    this.shiftX = 0;
    this.shiftY = 0;
  }

  resize() {
    const sharpness = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.canvas.clientWidth * sharpness));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * sharpness));
    if (width !== this.canvas.width || height !== this.canvas.height) {
      this.canvas.width = width;
      this.canvas.height = height;
      this.paint();
    }
  }

  // Where the image lies: canvas pixels per column and row, and its upper left corner.
  placement() {
    const { columns, rows, pixelWidth, pixelHeight } = this.content;
    const { width, height } = this.canvas;
    const scale = this.zoom * Math.min(width / (columns * pixelWidth), height / (rows * pixelHeight));
    const acrossPixel = scale * pixelWidth;
    const downPixel = scale * pixelHeight;
    return {
      scale,
      acrossPixel,
      downPixel,
      left: (width - columns * acrossPixel) / 2 + this.shiftX * width,
      top: (height - rows * downPixel) / 2 + this.shiftY * height,
    };
  }

  // Change the zoom so that what is under a point, in shares of the canvas from its middle, stays there.
  zoomBy(factor, pointX = 0, pointY = 0) {
    const zoom = Math.min(40, Math.max(1, this.zoom * factor));
    const change = zoom / this.zoom;
    this.shiftX = pointX + (this.shiftX - pointX) * change;
    this.shiftY = pointY + (this.shiftY - pointY) * change;
    this.zoom = zoom;
    this.moveBy(0, 0);
  }

  // Move by shares of the canvas, never so far that the image leaves the middle.
  moveBy(x, y) {
    const { columns, rows } = this.content;
    const { acrossPixel, downPixel } = this.placement();
    const mostX = this.zoom > 1 ? (columns * acrossPixel) / this.canvas.width / 2 : 0;
    const mostY = this.zoom > 1 ? (rows * downPixel) / this.canvas.height / 2 : 0;
    this.shiftX = Math.min(mostX, Math.max(-mostX, this.shiftX + x));
    this.shiftY = Math.min(mostY, Math.max(-mostY, this.shiftY + y));
    this.canvas.classList.toggle("movable", this.zoom > 1);
    this.paint();
  }

  paint() {
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.layers) return;
    const place = this.placement();
    this.paintImage(context, this.layers.image, place, 1);
    if (this.layers.map) this.paintImage(context, this.layers.map, place, this.layers.opacity);
    this.paintContours(context, place);
    this.paintSides(context);
    if (this.content.inMillimetres) this.paintScaleBar(context, place.scale);
  }

  paintImage(context, image, place, opacity) {
    const { columns, rows } = this.content;
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, place.left, place.top, columns * place.acrossPixel, rows * place.downPixel);
    context.globalAlpha = 1;
  }

  // Coloured lines, as wide at every zoom, on dark rims that show on any background. No rim lies on another's colour,
  // and the gaps between dashes let a contour show that runs along the same pixels.
  paintContours(context, place) {
    const unit = window.devicePixelRatio || 1;
    const toCanvas = new DOMMatrix([place.acrossPixel, 0, 0, place.downPixel, place.left, place.top]);
    const lines = this.layers.contours.map(({ path, colour, dashes }) => {
      const line = new Path2D();
      line.addPath(new Path2D(path), toCanvas);
      return { line, colour, dashes: dashes.map((length) => length * unit) };
    });
    context.lineJoin = "round";
    context.lineCap = "butt";
    context.lineWidth = 4 * unit;
    context.strokeStyle = "rgba(0, 0, 0, 0.6)";
    for (const { line } of lines) context.stroke(line);
    context.lineWidth = 2 * unit;
    for (const { line, colour, dashes } of lines) {
      context.setLineDash(dashes);
      context.strokeStyle = colour;
      context.stroke(line);
    }
    context.setLineDash([]);
  }

  write(context, text, x, y, align, baseline) {
    const unit = window.devicePixelRatio || 1;
    context.font = `600 ${16 * unit}px system-ui, sans-serif`;
    context.textAlign = align;
    context.textBaseline = baseline;
    context.lineJoin = "round";
    context.lineWidth = 4 * unit;
    context.strokeStyle = "#000";
    context.strokeText(text, x, y);
    context.fillStyle = "#fff";
    context.fillText(text, x, y);
  }

  paintSides(context) {
    if (!this.content.letters) return;
    const [left, right, top, bottom] = this.content.letters;
    const { width, height } = this.canvas;
    const margin = 10 * (window.devicePixelRatio || 1);
    this.write(context, left, margin, height / 2, "left", "middle");
    this.write(context, right, width - margin, height / 2, "right", "middle");
    this.write(context, top, width / 2, margin, "center", "top");
    this.write(context, bottom, width / 2, height - margin, "center", "bottom");
  }

  // A bar of 1, 2 or 5 times a power of ten millimetres, at most a quarter of the canvas long.
  paintScaleBar(context, scale) {
    const unit = window.devicePixelRatio || 1;
    const longest = this.canvas.width / 4 / scale;
    const power = 10 ** Math.floor(Math.log10(longest));
    const length = power * [5, 2, 1].find((step) => step * power <= longest);
    const left = 14 * unit;
    const bottom = this.canvas.height - 14 * unit;
    for (const [width, style] of [[6, "#000"], [2.5, "#fff"]]) {
      context.lineWidth = width * unit;
      context.lineCap = "square";
      context.strokeStyle = style;
      context.beginPath();
      context.moveTo(left, bottom);
      context.lineTo(left + length * scale, bottom);
      context.stroke();
    }
    const label = length >= 10 ? `${length / 10} cm` : `${Number(length.toPrecision(1))} mm`;
    this.write(context, label, left, bottom - 7 * unit, "left", "bottom");
  }
}
