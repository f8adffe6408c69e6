// Keeps what was clicked: sends each change to the server at once, one after the other, and tries again if it fails.

import { ask } from "./server.js";

const WAIT = 4000; // milliseconds until a save that failed is tried again
const LASTING = 60000; // bytes that a browser still sends after the page was left

export class Keeper {
  /** on: { kept(answer), failed(error, whether trying again is of no use) } */
  constructor(revision, on) {
    Object.assign(this, { revision, on, wanted: null, busy: false, timer: null });
    addEventListener("beforeunload", (event) => this.wanted && event.preventDefault());
  }

  save(plain) {
    this.wanted = plain;
    this.again();
  }

  async again() {
    clearTimeout(this.timer);
    if (this.busy) return;
    this.busy = true;
    while (this.wanted) {
      const sent = this.wanted;
      try {
        const body = JSON.stringify({ ...sent, revision: this.revision });
        const answer = await ask("sheet", {
          method: "POST", body, headers: { "Content-Type": "application/json" }, keepalive: body.length < LASTING,
        });
        this.revision = answer.revision;
        if (this.wanted === sent) this.wanted = null;
        this.on.kept(answer);
      } catch (error) {
        const stale = error.status === 409; // somebody else has changed what this page was made from
        if (stale) this.wanted = null;
        else this.timer = setTimeout(() => this.again(), WAIT);
        this.on.failed(error, stale);
        break;
      }
    }
    this.busy = false;
  }
}
