// A page that is read from a folder (file://) may start no worker, and the search is one: there, a hidden frame plays it.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      inside.postMessage = (data) => {
        const message = new MessageEvent("message", { data });
        this.dispatchEvent(message);
        this.onmessage?.(message);
      };
      this.frame = frame;
      this.ready = new Promise((loaded) => {
        const script = inside.document.createElement("script");
        script.onload = loaded;
        script.src = new URL(url, document.baseURI).href;
        inside.document.head.append(script);
      });
    }
    postMessage(data) {
      this.ready.then(() => {
        const message = new MessageEvent("message", { data });
        this.frame.contentWindow.onmessage?.(message);
      });
    }
    terminate() {
      this.frame.remove();
    }
  };
}
