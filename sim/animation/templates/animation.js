"use strict";
// The page shows the whole picture; this hides what has not happened yet at the time chosen.
(() => {
  const main = document.querySelector("main");
  const number = (element, name) => Number(element.dataset[name]);
  const start = number(main, "start"), end = number(main, "end");
  const left = number(main, "left"), right = number(main, "right");
  const story = JSON.parse(document.getElementById("story").textContent);
  const said = [...document.querySelectorAll(".said")];
  const playheads = [...document.querySelectorAll("line.now")];
  const [play, slider, clock, speed] = ["play", "time", "clock", "speed"].map((id) => document.getElementById(id));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const wholeRun = 20; // seconds of the viewer's, at speed 1

  const marks = [...document.querySelectorAll("main .mark")].map((element) => {
    const line = element.querySelector("line"), rect = element.querySelector("rect");
    const read = (from, ...names) => from && Object.fromEntries(names.map((name) => [name, Number(from.getAttribute(name))]));
    return {
      element, line, rect, cross: element.querySelector(".cross"),
      from: number(element, "from"), to: number(element, "to"),
      way: read(line, "x1", "y1", "x2", "y2"), box: read(rect, "x", "width"),
    };
  });
  const instants = [...new Set([start, end, ...marks.flatMap((mark) => [mark.from, mark.to])])]
    .filter((time) => time >= start && time <= end).sort((a, b) => a - b);

  let now = end, playing = false, last = 0;

  function show(time) {
    const before = now;
    now = Math.min(Math.max(time, start), end);
    const x = left + (right - left) * (now - start) / (end - start);
    for (const mark of marks) {
      const future = mark.from > now, coming = !future && mark.to > now;
      mark.element.classList.toggle("future", future);
      mark.element.classList.toggle("coming", coming);
      mark.element.classList.toggle("fresh", playing && mark.from > before && !future);
      if (mark.cross) mark.cross.classList.toggle("future", coming);
      if (future) continue;
      if (mark.line && mark.way) {
        const share = coming ? (now - mark.from) / (mark.to - mark.from) : 1;
        mark.line.setAttribute("x2", mark.way.x1 + share * (mark.way.x2 - mark.way.x1));
        mark.line.setAttribute("y2", mark.way.y1 + share * (mark.way.y2 - mark.way.y1));
      }
      if (mark.rect) mark.rect.setAttribute("width", Math.max(0.5, Math.min(mark.box.width, x - mark.box.x)));
    }
    for (const playhead of playheads) {
      playhead.setAttribute("x1", x);
      playhead.setAttribute("x2", x);
    }
    story.forEach((panel, place) => {
      const heard = panel.lines.filter(([time]) => time <= now + 1e-9);
      const text = heard.length && now < end ? `${heard.at(-1)[0].toFixed(3)} s: ${heard.at(-1)[1]}` : "";
      if (said[place].textContent !== text) said[place].textContent = text;
    });
    slider.value = String(Math.round(1000 * (now - start) / (end - start)));
    clock.textContent = `${now.toFixed(end - start < 20 ? 2 : 1)} s`;
    slider.setAttribute("aria-valuetext", clock.textContent);
  }

  function frame(stamp) {
    if (!playing) return;
    const passed = last ? (stamp - last) / 1000 : 0;
    last = stamp;
    show(now + passed * Number(speed.value) * (end - start) / wholeRun);
    if (now >= end) pause(); else requestAnimationFrame(frame);
  }

  function listen(live) {
    for (const each of said) each.setAttribute("aria-live", live ? "polite" : "off");
  }

  function start_() {
    if (now >= end) show(start);
    playing = true;
    last = 0;
    listen(false);
    play.textContent = "Pause";
    requestAnimationFrame(frame);
  }

  function pause() {
    playing = false;
    play.textContent = "Play";
  }

  function step(forward) {
    pause();
    listen(true);
    const next = forward ? instants.find((time) => time > now + 1e-6) : instants.findLast((time) => time < now - 1e-6);
    show(next ?? (forward ? end : start));
  }

  play.addEventListener("click", () => (playing ? pause() : start_()));
  slider.addEventListener("input", () => {
    pause();
    show(start + (end - start) * Number(slider.value) / 1000);
  });
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("select, input, summary")) return;
    const act = {
      " ": () => (playing ? pause() : start_()), ArrowRight: () => step(true), ArrowLeft: () => step(false),
      Home: () => { pause(); show(start); }, End: () => { pause(); show(end); },
    }[event.key];
    if (!act || (event.key === " " && event.target === play)) return;
    event.preventDefault();
    act();
  });
  addEventListener("beforeprint", () => { pause(); show(end); });
  document.getElementById("controls").hidden = false;
  if (still.matches) play.title = "Your system asks for less motion: nothing moves until you press this";
  show(end);
})();
