// The search of the site runs in a worker, and browsers start none for a page that was opened from disk.  There, a script
// takes the place of a worker in a hidden frame of the page: messages go to the frame and come back as events.
// (The theme's plugin "offline" would fetch such a script from a network, unless a file of this name is given.)
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.inside = frame.contentWindow;
      this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.ready = new Promise((loaded, failed) => {
        const script = frame.contentDocument.createElement("script");
        script.onload = loaded;
        script.onerror = failed;
        script.src = url;
        frame.contentDocument.head.append(script);
      });
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }
  };
}
