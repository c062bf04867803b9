// A one-time permission to look at a guest, asked for in the account's name; and the address of its websocket.
const ANSWER_MS = 20000;

// The form of the answer. Throws an Error with `why`, and `final` where asking again would be refused again.
export async function ticket(url) {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const answer = await fetch(url, {
    method: "POST",
    credentials: "same-origin",
    headers: {
      Accept: "application/json",
      "Content-Type": "application/json",
      "X-CSRFToken": document.querySelector("meta[name=csrf-token]").content,
      "Idempotency-Key": key,
    },
    body: "{}",
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  const form = await answer.json().catch(() => ({}));
  if (answer.ok) return form;
  const problem = new Error(form.what || form.title || `HTTP ${answer.status}`);
  problem.why = [form.why || form.detail, form.hint].filter(Boolean).map((line) => line.replace(/([^.!?。])$/, "$1.")).join(" ");
  // A refusal stays a refusal; an overloaded or absent node may answer later.
  problem.final = answer.status < 500 && answer.status !== 429;
  throw problem;
}

export function socketAddress(form) {
  const url = new URL(form.url, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
