// The page: shows what the conversation tells through one WebSocket, and passes on what the user says and does.
import { Microphone, Speaker } from "./sound.js";

const byId = (id) => document.getElementById(id);
const isEmulated = document.documentElement.dataset.service === "emulated";
const STATES = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", ended: "Session over", away: "Waiting for the page's server" };

// --- the conversation goes on when the page is loaded again, and each tab has its own -----------------------------------

function conversationName() {
  let name = sessionStorage.getItem("conversation");
  if (!name) {
    name = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem("conversation", name);
  }
  return name;
}

const speaker = new Speaker((level) => showLevel("sound-level", level));
const microphone = new Microphone(
  (audio) => send(audio),
  (level) => showLevel("microphone-level", level),
);

const isNarrow = matchMedia("(max-width: 900px)"); // as in page.css: all of it in one column
let socket = null, delay = 250;

function connect() {
  socket = new WebSocket(`ws://${location.host}/talk/${conversationName()}`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => {
    delay = 250;
    complain("");
  });
  socket.addEventListener("message", ({ data }) => (typeof data === "string" ? show(JSON.parse(data)) : speaker.play(data)));
  socket.addEventListener("close", () => {
    showState("away");
    setTimeout(connect, delay);
    delay = Math.min(delay * 2, 5000);
  });
}

// Returns whether there is somebody to take it.
function send(message) {
  if (socket.readyState !== WebSocket.OPEN) return false;
  socket.send(message instanceof ArrayBuffer ? message : JSON.stringify(message));
  return true;
}

// --- what is shown ------------------------------------------------------------------------------------------------------

function show(message) {
  if (message.state) showState(message.state);
  if (message.dials_in !== undefined) showDial(message.dials_in);
  if (message.armed) showArmed(message.armed);
  if (message.figures) showFigures(message.figures);
  if (message.flush) speaker.flush();
  if (message.born) showConversation(message.born);
  for (const entry of message.entries ?? []) showEntry(entry);
  if (message.timeline) showTimeline(message.timeline);
}

let ticking = null;

function showDial(seconds) {
  const due = performance.now() + seconds * 1000;
  const tell = () => {
    const left = Math.round((due - performance.now()) / 1000);
    byId("state-words").textContent = left > 0 ? `${STATES.reconnecting}, dials again in ${left} s` : STATES.reconnecting;
    if (left <= 0) clearInterval(ticking);
  };
  clearInterval(ticking);
  ticking = setInterval(tell, 500);
  tell();
}

function showArmed(names) {
  const labels = [];
  for (const button of document.querySelectorAll("[data-cut]")) {
    button.dataset.armed = names.includes(button.dataset.cut);
    if (names.includes(button.dataset.cut)) labels.push(button.textContent);
  }
  byId("armed").textContent = labels.length ? `armed: ${labels.join(", ")}` : "";
}

function showState(state) {
  clearInterval(ticking);
  byId("state").dataset.state = state;
  byId("state-words").textContent = STATES[state];
  byId("go-on")?.remove();
  if (state !== "ended") return;
  const button = document.createElement("button");
  button.type = "button";
  button.id = "go-on";
  button.className = "primary";
  button.textContent = "Begin a new session";
  button.addEventListener("click", () => send({ go_on: true }));
  byId("state").after(button);
}

function showFigures(figures) {
  const whole = (value) => (value === null ? "–" : String(value));
  const shown = {
    sent: whole(figures.sent),
    lost: whole(figures.lost),
    doubled: whole(figures.doubled),
    reconnects: whole(figures.reconnects),
    gap: figures.gap === null ? "–" : `${figures.gap.toFixed(2)} s`,
    "audio-lost": `${figures.audio_lost.toFixed(1)} s`,
  };
  for (const [name, text] of Object.entries(shown)) {
    const figure = byId(`figure-${name}`);
    figure.textContent = text;
    figure.dataset.zero = text === "–" ? "unknown" : String(!/[1-9]/.test(text));
  }
}

const WHO = { user: "You", model: "Model", tool: "Tool", line: "Line" };

// What tells the emulated model what to do is not shown; it names speech that is not its own by length and digest.
const DIRECTIVES = ["tool", "then", "recall", "seconds", "chunks", "think", "silent", "audio"];
const unfinished = (text) => text
  .replace(/\s*\[([a-z]*)[^\]]*$/, (found, word) => (DIRECTIVES.some((one) => one.startsWith(word)) ? "" : found));
const plain = (text) => text
  .replace(/\s*\[(tool|then|recall|seconds|chunks|think|silent)[^\]]*\]/g, "")
  .replace(/\[audio (\d+) ms [0-9a-f]+\]/g, (_, length) => `(${(length / 1000).toFixed(1)} s of speech)`);

let born = null;

// After its server was started anew, what stands there is of a conversation that nobody remembers.
function showConversation(name) {
  const items = byId("entries").children;
  if (born !== null && born !== name && items.length) {
    for (const item of items) delete item.dataset.id;
    showEntry({ id: "", who: "line", state: "lost", again: false, text: "The page's server was started anew: it knows nothing of what was said above." });
  }
  born = name;
}

function showEntry(entry) {
  const list = byId("entries"), transcript = byId("transcript");
  const follows = transcript.scrollHeight - transcript.scrollTop - transcript.clientHeight < 60;
  byId("empty").hidden = true;
  let item = list.querySelector(`[data-id="${entry.id}"]`);
  if (!item) {
    item = document.createElement("li");
    item.dataset.id = entry.id;
    list.append(item);
  }
  item.className = `entry ${entry.who}`;
  item.dataset.state = entry.state;
  item.dataset.again = entry.again;
  const who = document.createElement("span");
  who.className = "who";
  who.textContent = WHO[entry.who];
  const marks = [];
  if (entry.again) marks.push("answered again");
  if (entry.state === "cut") marks.push("cut off here");
  if (entry.state === "interrupted") marks.push("interrupted by you");
  const text = plain(entry.text), isPart = isEmulated && entry.who === "model" && entry.state !== "done";
  const lines = (isPart ? unfinished(text) : text).split("\n").map((line) => {
    const text = document.createElement("p");
    text.textContent = line;
    return text;
  });
  item.replaceChildren(who, ...lines, ...marks.map((mark) => {
    const badge = document.createElement("span");
    badge.className = "badge";
    badge.textContent = mark;
    return badge;
  }));
  if (follows) transcript.scrollTop = transcript.scrollHeight;
  if (entry.state !== "open" && item.dataset.told !== entry.state + entry.text.length) {
    item.dataset.told = entry.state + entry.text.length;
    if (entry.who !== "user") byId("announcer").textContent = `${WHO[entry.who]}: ${[lines[lines.length - 1].textContent, ...marks].join(", ")}`;
  }
}

function showTimeline(svg) {
  const picture = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  byId("timeline").replaceChildren(document.adoptNode(picture));
}

function showLevel(id, level) {
  byId(id).style.setProperty("--level", level.toFixed(3));
}

function complain(problem) {
  byId("problem").hidden = !problem;
  byId("problem").textContent = problem;
}

// --- what the user does ---------------------------------------------------------------------------------------------------

// Returns whether it was sent; what was not is told, so that nobody waits for an answer.
function wish(message) {
  speaker.wake();
  let problem = "";
  if (message.text && byId("state").dataset.state === "ended") problem = "The session is over: begin a new one, and send it then.";
  else if (!send(message)) problem = "Not sent: the page's server is away. Once it is back, send it again.";
  complain(problem);
  return !problem;
}

function ask(text) {
  return wish({ text });
}

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  if (!text) return;
  if (ask(text)) byId("text").value = "";
});

for (const chip of document.querySelectorAll("[data-ask]")) {
  chip.addEventListener("click", () => ask(isEmulated && chip.dataset.then ? `${chip.dataset.ask} ${chip.dataset.then}` : chip.dataset.ask));
}

byId("show-me").addEventListener("click", () => {
  if (wish({ cut: "reset", when: "answer" })) ask("What should I pack for Oslo in May?");
});

for (const button of document.querySelectorAll("[data-cut]")) {
  button.addEventListener("click", () => {
    wish({ cut: button.dataset.cut, when: document.querySelector("[name=when]:checked").value });
    if (isNarrow.matches) document.querySelector(".talk").scrollIntoView(); // else nothing would be seen of it
  });
  for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, () => { byId("words").textContent = button.title; });
}

byId("sound").addEventListener("click", () => {
  speaker.wake();
  speaker.muted = !speaker.muted;
  byId("sound").setAttribute("aria-pressed", String(!speaker.muted));
});

byId("microphone").addEventListener("click", async () => {
  speaker.wake();
  complain("");
  try {
    if (microphone.isOn) {
      microphone.stop();
      send({ microphone: false });
    } else await microphone.start();
  } catch (error) {
    complain(`The microphone cannot be used: ${error.message}`);
  }
  byId("microphone").setAttribute("aria-pressed", String(microphone.isOn));
});

connect();
