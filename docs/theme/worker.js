// A page that is read from a folder (file://) may start no worker, and the search is one: there, a hidden frame plays it.
// Messages take a channel, as those of a worker do: they are copied, and an answer never comes within the question.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      const { port1, port2 } = new MessageChannel();
      this.port = port1;
      port1.onmessage = (message) => this.onmessage?.(message);
      inside.postMessage = (data) => port2.postMessage(data);
      const script = inside.document.createElement("script");
      script.onload = () => (port2.onmessage = (message) => inside.onmessage?.(message));
      script.onerror = (error) => this.onerror?.(error);
      script.src = new URL(url, document.baseURI).href;
      inside.document.head.append(script);
    }
    postMessage(data) {
      this.port.postMessage(data);
    }
    terminate() {
      this.frame.remove();
    }
  };
}
