// Sound in and out: 16-bit PCM on the WebSocket, AudioWorklets at its rates, so that the browser does the resampling.

export class Speaker {
  #context = null;
  #ready = null;
  #node = null;
  #gain = null;
  #muted = false;

  constructor(onLevel) {
    this.onLevel = onLevel;
  }

  /** To be called where the user does something: browsers let no page make a sound before. */
  wake() {
    if (this.#context === null) {
      this.#context = new AudioContext({ sampleRate: 24000, latencyHint: "interactive" });
      this.#ready = this.#context.audioWorklet.addModule("speaker.js").then(() => {
        this.#node = new AudioWorkletNode(this.#context, "speaker", { numberOfInputs: 0, outputChannelCount: [1] });
        this.#gain = new GainNode(this.#context, { gain: this.#muted ? 0 : 1 });
        this.#node.port.onmessage = ({ data }) => this.onLevel(data.level);
        this.#node.connect(this.#gain).connect(this.#context.destination);
      });
    }
    this.#context.resume();
  }

  /** Play audio after what is waiting to be played. Without a wake it is left out. */
  play(audio) {
    this.#ready?.then(() => this.#node.port.postMessage(audio, [audio]));
  }

  /** Drop what is waiting: the answer was interrupted. */
  flush() {
    this.#ready?.then(() => this.#node.port.postMessage("flush"));
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    if (this.#gain) this.#gain.gain.value = muted ? 0 : 1;
  }
}

export class Microphone {
  #context = null;
  #stream = null;

  constructor(onAudio, onLevel) {
    this.onAudio = onAudio;
    this.onLevel = onLevel;
  }

  get isOn() {
    return this.#stream !== null;
  }

  async start() {
    if (!navigator.mediaDevices) throw new Error("this browser gives it to secure pages only");
    const wishes = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: wishes });
    try {
      this.#context = new AudioContext({ sampleRate: 16000 });
      await this.#context.audioWorklet.addModule("microphone.js");
      const node = new AudioWorkletNode(this.#context, "microphone", { numberOfOutputs: 0 });
      node.port.onmessage = ({ data }) => {
        this.onAudio(data.audio);
        this.onLevel(data.level);
      };
      this.#context.createMediaStreamSource(this.#stream).connect(node);
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#context?.close();
    this.#stream = this.#context = null;
    this.onLevel(0);
  }
}
