// Plays 16-bit PCM in its order, as it comes; after a pause it waits for a little more, so that it does not stutter.
class SpeakerProcessor extends AudioWorkletProcessor {
  #waiting = [];
  #at = 0;
  #length = 0;
  #began = null;
  #blocks = 0;
  #peak = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (data === "flush") {
        this.#waiting = [];
        this.#at = this.#length = 0;
        this.#began = null;
        return;
      }
      const samples = new Int16Array(data);
      this.#waiting.push(samples);
      this.#length += samples.length;
      this.#began ??= currentTime + (this.#length >= sampleRate / 8 ? 0 : 0.12);
    };
  }

  process(_, [[output]]) {
    if (this.#began !== null && currentTime >= this.#began) {
      let filled = 0;
      while (filled < output.length && this.#waiting.length > 0) {
        const samples = this.#waiting[0];
        const count = Math.min(output.length - filled, samples.length - this.#at);
        for (let i = 0; i < count; i++) output[filled + i] = samples[this.#at + i] / 32768;
        filled += count;
        this.#at += count;
        if (this.#at === samples.length) {
          this.#waiting.shift();
          this.#at = 0;
        }
      }
      this.#length -= filled;
      if (this.#length === 0) this.#began = null;
    }
    for (const sample of output) this.#peak = Math.max(this.#peak, Math.abs(sample));
    if (++this.#blocks % 12 === 0) {
      this.port.postMessage({ level: this.#peak });
      this.#peak = 0;
    }
    return true;
  }
}

registerProcessor("speaker", SpeakerProcessor);
