// Gives what the microphone hears as 16-bit PCM, 40 ms at a time.
class MicrophoneProcessor extends AudioWorkletProcessor {
  #samples = new Int16Array(640);
  #filled = 0;
  #peak = 0;

  process([[input]]) {
    for (const sample of input ?? []) {
      this.#samples[this.#filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      this.#peak = Math.max(this.#peak, Math.abs(sample));
      if (this.#filled === this.#samples.length) {
        const audio = this.#samples.buffer;
        this.port.postMessage({ audio, level: this.#peak }, [audio]);
        this.#samples = new Int16Array(640);
        this.#filled = this.#peak = 0;
      }
    }
    return true;
  }
}

registerProcessor("microphone", MicrophoneProcessor);
