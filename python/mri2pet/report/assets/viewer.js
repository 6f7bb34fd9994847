"use strict";
(() => {
  const data = JSON.parse(document.getElementById("volumes").textContent);
  const [nx, ny, nz] = data.shape;
  const cursor = [...data.start];
  const control = (name) => document.getElementById(name);

  // A mosaic holds the axial slices row by row; each tile has the anterior edge at the top.
  const unpack = (uri) => new Promise((resolve) => {
    const image = new Image();
    image.onload = () => {
      const sheet = document.createElement("canvas");
      [sheet.width, sheet.height] = [image.width, image.height];
      const pen = sheet.getContext("2d", { willReadFrequently: true });
      pen.drawImage(image, 0, 0);
      const pixels = pen.getImageData(0, 0, sheet.width, sheet.height).data;
      const volume = new Uint8Array(nx * ny * nz);
      for (let z = 0; z < nz; z++) {
        const left = (z % data.columns) * nx, top = Math.floor(z / data.columns) * ny;
        for (let y = 0; y < ny; y++) {
          for (let x = 0; x < nx; x++) {
            const row = top + ny - 1 - y;
            volume[(z * ny + y) * nx + x] = pixels[4 * (row * sheet.width + left + x)];
          }
        }
      }
      resolve(volume);
    };
    image.src = uri;
  });

  // For each view: the volume axes along its columns and rows.
  const views = { axial: [0, 1], coronal: [0, 2], sagittal: [1, 2] };
  const normal = (view) => 3 - views[view][0] - views[view][1];

  const start = (t1, layers) => {
    const draw = () => {
      const name = document.querySelector("input[name=layer]:checked").value;
      const layer = data.layers[name], values = layers[name];
      const opacity = control("opacity").value / 100;
      for (const [view, [across, up]] of Object.entries(views)) {
        const canvas = control("view-" + view), pen = canvas.getContext("2d");
        const width = data.shape[across], height = data.shape[up];
        [canvas.width, canvas.height] = [width, height];
        const picture = pen.createImageData(width, height), at = [...cursor];
        for (let row = 0; row < height; row++) {
          for (let column = 0; column < width; column++) {
            at[across] = column;
            at[up] = height - 1 - row;
            const index = (at[2] * ny + at[1]) * nx + at[0], value = values[index];
            const weight = Math.min(1, value / 96) * opacity, pixel = 4 * (row * width + column);
            for (let c = 0; c < 3; c++) {
              picture.data[pixel + c] =
                t1[index] * (1 - weight) + layer.colours[3 * value + c] * weight;
            }
            picture.data[pixel + 3] = 255;
          }
        }
        pen.putImageData(picture, 0, 0);
        pen.fillStyle = "rgba(120, 220, 255, 0.55)";
        pen.fillRect(cursor[across], 0, 0.6, height);
        pen.fillRect(0, height - 1 - cursor[up], width, 0.6);
      }
      for (const view of Object.keys(views)) control("slice-" + view).value = cursor[normal(view)];
      document.querySelectorAll("[data-layer]").forEach((scale) => {
        scale.hidden = scale.dataset.layer !== name;
      });
      const value = values[(cursor[2] * ny + cursor[1]) * nx + cursor[0]];
      control("reading").textContent = "≈ " + (value / 255 * layer.high).toFixed(2) + " SUVR";
    };
    for (const [view, [across, up]] of Object.entries(views)) {
      const canvas = control("view-" + view);
      const follow = (event) => {
        const frame = canvas.getBoundingClientRect();
        const place = (fraction, count) =>
          Math.max(0, Math.min(count - 1, Math.floor(fraction * count)));
        cursor[across] = place((event.clientX - frame.left) / frame.width, data.shape[across]);
        cursor[up] = place(1 - (event.clientY - frame.top) / frame.height, data.shape[up]);
        draw();
      };
      // A finger that moves scrolls the page; only a tap, which ends as a click, moves the cross.
      const mouse = (event) => event.pointerType === "mouse";
      canvas.addEventListener("pointerdown", (event) => { if (mouse(event)) follow(event); });
      canvas.addEventListener("pointermove", (event) => {
        if (mouse(event) && event.buttons) follow(event);
      });
      canvas.addEventListener("click", (event) => { if (!mouse(event)) follow(event); });
      const slider = control("slice-" + view);
      slider.addEventListener("input", () => {
        cursor[normal(view)] = Number(slider.value);
        draw();
      });
    }
    document.querySelectorAll(".controls input").forEach((i) => i.addEventListener("input", draw));
    draw();
  };

  const names = Object.keys(data.layers);
  Promise.all([data.t1, ...names.map((n) => data.layers[n].image)].map(unpack)).then(
    ([t1, ...volumes]) => start(t1, Object.fromEntries(names.map((n, i) => [n, volumes[i]]))));
})();
