"use strict";
/* Reading values off curves, choosing curves and zooming time. The page is complete without any of it. */
{
  const SVG = "http://www.w3.org/2000/svg";
  const STEPS = 1000;

  const number = (value) => value === 0 ? "0" : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en")
    : String(Number(value.toPrecision(3)));
  const time = (seconds) => {
    const size = Math.abs(seconds);
    if (size === 0) return "0 s";
    if (size < 1e-3) return `${number(seconds * 1e6)} µs`;
    if (size < 1) return `${number(seconds * 1e3)} ms`;
    if (size < 120) return `${number(seconds)} s`;
    return size < 7200 ? `${number(seconds / 60)} min` : `${number(seconds / 3600)} h`;
  };
  const percentile = (nines) => `p${Number((100 - 100 * 10 ** -nines).toFixed(Math.max(1, Math.ceil(nines) - 1)))}`;
  const share = (value) => `${Number((100 * value).toFixed(value > 0.99 ? 3 : 1))} %`;
  const WRITTEN = { time, share, number, percentile };

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const draw = (name, attributes, text = "") => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };

  /* The value of a curve at x, by bisection; null where it has none. */
  const valueAt = (curve, x) => {
    let low = 0, high = curve.x.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (curve.x[middle] <= x) low = middle + 1; else high = middle;
    }
    if (curve.step) return low === 0 ? (curve.y.length ? 0 : null) : curve.y[low - 1];
    if (low === 0 || low === curve.x.length) return low && curve.x[low - 1] === x ? curve.y[low - 1] : null;
    const [before, after] = [curve.y[low - 1], curve.y[low]];
    if (before === null || after === null) return before ?? after;
    return before + (after - before) * (x - curve.x[low - 1]) / (curve.x[low] - curve.x[low - 1]);
  };

  class Chart {
    constructor(figure) {
      this.figure = figure;
      this.svg = figure.querySelector("svg.plot");
      this.data = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
      this.away = new Set();
      this.from = 0;
      this.to = 1;
      for (const name of ["left", "across", "top", "bottom"]) this[name] = Number(this.svg.dataset[name]);
      this.controls = figure.querySelector(".controls");
      this.addChoice();
      this.addReading();
      this.controls.hidden = false;
      this.letScroll();
    }

    /* A drawing wider than its place scrolls, so the keyboard must reach it. */
    letScroll() {
      const canvas = this.svg.parentElement;
      new ResizeObserver(() => {
        if (canvas.scrollWidth > canvas.clientWidth) canvas.setAttribute("tabindex", "0");
        else canvas.removeAttribute("tabindex");
      }).observe(canvas);
    }

    addChoice() {
      const groups = [...new Set([...this.svg.querySelectorAll("[data-group]")].map((each) => each.dataset.group))];
      if (groups.length < 2) return;
      const choice = make("div", { class: "choice", role: "group", "aria-label": "Curves shown" }, make("span", {}, "Show"));
      for (const group of groups) {
        const box = make("input", { type: "checkbox" });
        box.checked = true;
        box.addEventListener("change", () => {
          if (box.checked) this.away.delete(group); else this.away.add(group);
          for (const element of this.svg.querySelectorAll("[data-group]"))
            element.classList.toggle("away", this.away.has(element.dataset.group));
          this.read();
        });
        choice.append(make("label", {}, box, group));
      }
      this.controls.append(choice);
    }

    addReading() {
      if (!this.data.panels.some((panel) => panel.curves.length)) return;
      this.slider = make("input", { type: "range", min: 0, max: STEPS, value: STEPS / 2 });
      this.output = make("output", { "aria-live": "polite" });
      this.controls.append(make("label", {}, "Read at", this.slider), this.output);
      this.output.textContent = "Move the slider or point at the figure to read values.";
      this.cross = draw("line", { class: "cross", y1: this.top, y2: this.bottom, visibility: "hidden" });
      this.svg.append(this.cross);
      this.slider.addEventListener("input", () => this.read(true));
      this.svg.addEventListener("pointermove", (event) => {
        const box = this.svg.getBoundingClientRect();
        const x = (event.clientX - box.left) * this.svg.viewBox.baseVal.width / box.width;
        const at = (x - this.left) / this.across;
        if (at < 0 || at > 1) return;
        this.slider.value = Math.round(at * STEPS);
        this.read(true);
      });
    }

    read(asked = false) {
      if (!this.slider || (!asked && this.cross.getAttribute("visibility") === "hidden")) return;
      const { low, high, log, unit } = this.data.x;
      const at = Number(this.slider.value) / STEPS;
      const x = low + (high - low) * (this.from + (this.to - this.from) * at);
      const where = unit === "number" ? `${number(x)} s` : WRITTEN[unit](log ? 10 ** x : x);
      const told = [];
      for (const panel of this.data.panels) {
        const values = [];
        for (const curve of panel.curves) {
          if (this.away.has(curve.group)) continue;
          const value = valueAt(curve, x);
          values.push(`${curve.name} ${value === null ? "–" : WRITTEN[panel.unit](value)}`);
        }
        if (values.length) told.push(`${this.data.panels.length > 1 ? `${panel.title}: ` : ""}${values.join(", ")}`);
      }
      this.output.textContent = `At ${where}: ${told.join("; ") || "no curve is shown"}`;
      this.slider.setAttribute("aria-valuetext", where);
      const line = this.left + this.across * at;
      this.cross.setAttribute("x1", line);
      this.cross.setAttribute("x2", line);
      this.cross.setAttribute("visibility", "visible");
    }

    /* Show the stretch of time [from, to], in shares of the whole axis. */
    zoom(from, to) {
      [this.from, this.to] = [from, to];
      for (const view of this.svg.querySelectorAll("svg.view")) {
        const height = view.getAttribute("height");
        view.setAttribute("viewBox", `${from * this.across} 0 ${(to - from) * this.across} ${height}`);
      }
      const { low, high } = this.data.x;
      const [first, last] = [low + (high - low) * from, low + (high - low) * to];
      const least = (last - first) / 7;
      const power = 10 ** Math.floor(Math.log10(least));
      const step = [1, 2, 5, 10].map((digit) => digit * power).find((each) => each >= least * 0.999);
      const ticks = this.svg.querySelector(".xticks");
      ticks.replaceChildren();
      for (let tick = Math.ceil(first / step - 1e-9) * step; tick <= last + step * 1e-9; tick += step) {
        const x = this.left + this.across * (tick - first) / (last - first);
        ticks.append(draw("line", { class: "grid", x1: x, x2: x, y1: this.top, y2: this.bottom }));
        ticks.append(draw("text", { class: "tick", x, y: this.bottom + 17, "text-anchor": "middle" }, number(tick)));
      }
      this.read();
    }
  }

  const charts = new Map();
  for (const figure of document.querySelectorAll("figure")) {
    if (figure.querySelector("svg.plot")) charts.set(figure, new Chart(figure));
  }

  for (const zoom of document.querySelectorAll(".zoom")) {
    const concerned = [...charts].filter(([figure]) => zoom.parentElement.contains(figure))
      .map(([, chart]) => chart).filter((chart) => chart.data.zooms);
    const longest = Math.max(...concerned.map((chart) => chart.data.x.high));
    const ends = ["from", "to"].map((name, place) => {
      const slider = make("input", { type: "range", min: 0, max: STEPS, value: place * STEPS });
      zoom.append(make("label", {}, `Time ${name}`, slider));
      return slider;
    });
    const all = make("button", { type: "button" }, "Whole run");
    const told = make("output", { "aria-live": "polite" });
    zoom.append(all, told);
    const show = () => {
      const [from, to] = ends.map((end) => Number(end.value) / STEPS * longest);
      ends.forEach((end, place) => end.setAttribute("aria-valuetext", `${number(place ? to : from)} s`));
      told.textContent = `Shown: ${number(from)} s to ${number(to)} s of ${number(longest)} s`;
      for (const chart of concerned) {
        const high = chart.data.x.high;
        chart.zoom(Math.min(from / high, 0.99), Math.min(to / high, 1));
      }
    };
    ends[0].addEventListener("input", () => {
      ends[0].value = Math.min(Number(ends[0].value), Number(ends[1].value) - 10);
      show();
    });
    ends[1].addEventListener("input", () => {
      ends[1].value = Math.max(Number(ends[1].value), Number(ends[0].value) + 10);
      show();
    });
    all.addEventListener("click", () => {
      [ends[0].value, ends[1].value] = [0, STEPS];
      show();
    });
    told.textContent = `Shown: the whole ${number(longest)} s`;
    zoom.hidden = false;
  }
}
