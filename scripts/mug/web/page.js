// What Gradio has no component for: edits begin on the minutes, and links stay inside the page.
(() => {
  const tell = (message) => {
    const box = document.querySelector("#m-bridge textarea, #m-bridge input");
    box.value = message + "|" + Date.now(); // the same twice is two events
    box.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const refuse = (event, files) => {
    const large = [...(files || [])].find((file) => file.size > window.mugMost);
    if (!large) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.target.value) event.target.value = "";
    tell("size" + large.size);
  };
  document.addEventListener("change", (event) => {
    if (event.target.type === "file") refuse(event, event.target.files);
  }, true);
  document.addEventListener("drop", (event) => refuse(event, event.dataTransfer && event.dataTransfer.files), true);

  const show = (target) => {
    document.querySelectorAll(".mug .hit").forEach((one) => one.classList.remove("hit"));
    target.classList.add("hit");
    const pane = target.closest(".transcript-side");
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const inside = pane && getComputedStyle(pane).overflowY === "auto";
    if (!inside) {
      target.scrollIntoView({ block: "start", behavior: still ? "auto" : "smooth" });
      return;
    }
    const room = target.matches(".part") ? pane.firstElementChild.offsetHeight : pane.clientHeight / 3;
    const behavior = still ? "auto" : "smooth";
    const [from, within] = [pane.getBoundingClientRect(), target.getBoundingClientRect()];
    const height = within.top - from.top + pane.scrollTop; // of the target in all that the pane holds
    const top = Math.min(Math.max(0, height - room), pane.scrollHeight - pane.clientHeight);
    pane.scrollTo({ top, behavior });
    // The lower end of the pane may lie below the window as long as the page has not been scrolled.
    const below = from.top + height - top + within.height + 24 - innerHeight;
    if (below > 0) scrollBy({ top: below, behavior });
    // One smooth scroll may stop the other, and the page may still grow: look again when both should be over.
    setTimeout(() => {
      const late = target.getBoundingClientRect().bottom + 24 - innerHeight;
      if (late > 0) scrollBy({ top: late });
    }, 900);
  };

  const offer = (sentence) => {
    const pane = sentence.closest(".transcript-side");
    const there = sentence.querySelector(".mark");
    document.querySelectorAll(".mug .mark").forEach((one) => one.remove());
    if (there || String(getSelection())) return; // a second click puts it away; a selection is no click
    const button = document.createElement("button");
    const known = sentence.classList.contains("action");
    button.type = "button";
    button.className = "mark";
    button.dataset.edit = "a" + sentence.id.slice(3);
    button.textContent = known ? pane.dataset.editAction : pane.dataset.add;
    sentence.append(button);
  };

  document.addEventListener("click", (event) => {
    const target = event.target;
    const edit = target.closest(".mug [data-edit]");
    if (edit) return tell("edit" + edit.dataset.edit);
    const link = target.closest('.mug a[href^="#m-"]');
    const place = link && document.getElementById(link.getAttribute("href").slice(1));
    if (place) {
      event.preventDefault();
      const details = link.closest("details");
      if (details) details.open = false;
      return show(place);
    }
    const sentence = target.closest(".mug .sentence");
    if (sentence) offer(sentence);
  });

  document.addEventListener("keydown", (event) => {
    const open = document.querySelector("#m-dialog");
    if (event.key === "Escape" && open && open.offsetWidth) document.querySelector("#m-cancel").click();
  });

  // New minutes take the place of the old ones: the transcript stays where it was read.
  let top = 0;
  document.addEventListener("scroll", (event) => {
    if (event.target.classList && event.target.classList.contains("transcript-side")) top = event.target.scrollTop;
  }, true);
  window.mugKeepPlace = () => {
    const pane = document.querySelector(".transcript-side");
    if (pane) pane.scrollTop = top;
  };
  window.mugFromTop = () => {
    top = 0;
    scrollTo({ top: 0 });
  };
  window.mugFocus = () => setTimeout(() => {
    const field = [...document.querySelectorAll("#m-dialog textarea")].find((one) => one.offsetWidth);
    if (field) field.focus();
  }, 50);
})();
