// Signs in by a passkey, or adds one: asks the console what to sign, has the device sign it, and sends the form with its answer.
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (sign) => sign.charCodeAt(0));
  const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const described = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

  const created = async (options) => {
    const made = await navigator.credentials.create({ publicKey: {
      ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) }, excludeCredentials: described(options.excludeCredentials),
    } });
    return { id: made.id, rawId: text(made.rawId), type: made.type, clientExtensionResults: {}, response: {
      clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject),
    } };
  };
  const signed = async (options) => {
    const made = await navigator.credentials.get({ publicKey: {
      ...options, challenge: bytes(options.challenge), allowCredentials: described(options.allowCredentials),
    } });
    return { id: made.id, rawId: text(made.rawId), type: made.type, clientExtensionResults: {}, response: {
      clientDataJSON: text(made.response.clientDataJSON), authenticatorData: text(made.response.authenticatorData), signature: text(made.response.signature),
      userHandle: made.response.userHandle ? text(made.response.userHandle) : null,
    } };
  };

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const say = (words) => {
      const note = form.querySelector("[data-passkey-note]");
      note.textContent = words;
      note.hidden = !words;
    };
    const button = form.querySelector("button");
    if (!window.PublicKeyCredential || location.origin !== form.dataset.origin) {
      button.disabled = true;
      say(window.isSecureContext && location.origin === form.dataset.origin ? form.dataset.textNone : form.dataset.textElsewhere);
      continue;
    }
    form.addEventListener("submit", async (event) => {
      if (form.elements.answer.value) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      say("");
      button.disabled = true;
      try {
        const answer = await fetch(form.dataset.begin, { method: "POST", body: new FormData(form), headers: { "X-Live": "1", Accept: "application/json" } });
        const options = await answer.json();
        if (!answer.ok) {
          say([options.what || options.title, options.why, options.hint].filter(Boolean).join(" · "));
          return;
        }
        form.elements.answer.value = JSON.stringify(await (form.dataset.passkey === "create" ? created(options) : signed(options)));
        if (form.elements.current_password) form.elements.current_password.value = "";
        form.submit();
      } catch (error) {
        say(error.name === "InvalidStateError" ? form.dataset.textKnown : form.dataset.textStopped);
      } finally {
        button.disabled = false;
      }
    }, true);
  }
})();
