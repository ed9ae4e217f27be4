// Mouse, pen and fingers on a pane. One finger or the left button does what the chosen tool says; two fingers zoom and move.

const WHEEL_STEP = 40;
const TOUCH_STEP = 14;

// `tool` tells the chosen tool, `chosen` hears which pane was touched.
export function listen(pane, tool, chosen) {
  const { canvas } = pane;
  const down = new Map();
  let rest = 0;

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const ratio = canvas.width / box.width || 1;
    return { x: (event.clientX - box.left) * ratio, y: (event.clientY - box.top) * ratio, ratio };
  };

  const does = (event) => {
    if (event.pointerType === "touch") return tool() === "scroll" && !(pane.stack?.length > 1) ? "window" : tool();
    if (event.buttons & 4) return "pan";
    if (event.buttons & 2) return "zoom";
    return tool();
  };

  const scroll = (amount, step) => {
    rest += amount;
    const steps = Math.trunc(rest / step);
    if (steps) pane.step(steps);
    rest -= steps * step;
  };

  canvas.addEventListener("pointerdown", (event) => {
    chosen();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at(event));
    rest = 0;
    event.preventDefault();
  });

  canvas.addEventListener("pointermove", (event) => {
    const before = down.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    if (down.size === 2) {
      const other = [...down].find(([id]) => id !== event.pointerId)[1];
      const spread = (point) => Math.hypot(point.x - other.x, point.y - other.y);
      if (spread(before) > 0) pane.zoom(spread(now) / spread(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
      pane.pan(dx / 2, dy / 2);
    } else if (down.size === 1) {
      const what = does(event);
      if (what === "window") pane.dragWindow(dx / now.ratio, dy / now.ratio);
      else if (what === "scroll") scroll(dy / now.ratio, TOUCH_STEP);
      else if (what === "zoom") pane.zoom(Math.exp(-dy / now.ratio / 150));
      else pane.pan(dx, dy);
    }
    down.set(event.pointerId, now);
  });

  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => down.delete(event.pointerId));
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    chosen();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY : event.deltaY * WHEEL_STEP;
    if (event.ctrlKey) {
      const { x, y } = at(event);
      pane.zoom(Math.exp(-lines / 300), x, y);
    } else if (Math.abs(lines) >= WHEEL_STEP) {
      // A notch of a wheel is one image, however long the notch.
      pane.step(Math.sign(lines));
    } else {
      scroll(lines, WHEEL_STEP);
    }
  }, { passive: false });
}
