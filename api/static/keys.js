// The keyboard: everything the mouse does, and nothing while somebody types.

const TYPING = new Set(["INPUT", "SELECT", "TEXTAREA"]);

export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (event.key === "Escape") {
      if (TYPING.has(target.tagName)) target.blur();
      else if (!document.querySelector("dialog[open]")) actions.Escape();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    const slider = target.type === "range";
    if (TYPING.has(target.tagName) && !slider) return;
    // A button takes the space bar itself, the scrubber its arrows.
    if (event.key === " " && target.tagName === "BUTTON") return;
    if (slider && event.key.startsWith("Arrow")) return;
    const name = event.shiftKey && event.key.startsWith("Arrow") ? `Shift+${event.key}` : event.key;
    const action = actions[name.length === 1 ? name.toLowerCase() : name];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
