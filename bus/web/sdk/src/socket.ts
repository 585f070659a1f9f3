// This file is a WebSocket as the stream that MQTT.js reads and writes. It is made when the socket is open.

import { Buffer } from "buffer";
import { Duplex } from "readable-stream";

/** Opens a WebSocket for MQTT; rejects when that takes longer than timeout milliseconds. */
export function openSocket(url: string, timeout: number): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(url, ["mqtt"]);
    ws.binaryType = "arraybuffer";
    const timer = setTimeout(() => end(new Error(`${url} does not answer`)), timeout);
    function end(error?: Error) {
      clearTimeout(timer);
      ws.onopen = ws.onerror = ws.onclose = null;
      if (error) {
        ws.close();
        reject(error);
      } else resolve(ws);
    }
    ws.onopen = () => end();
    // A page does not get the cause: a refusal, an unknown host, a foreign origin and a bad certificate look the same.
    ws.onerror = ws.onclose = () => end(new Error(`${url} is not reachable`));
  });
}

export function streamOf(ws: WebSocket, heard: () => void): Duplex {
  const stream = new Duplex({
    read() {}, // a WebSocket has no backpressure; Receive Maximum bounds the input
    write(chunk: Uint8Array, _encoding: string, done: () => void) {
      if (waiting.push(chunk) === 1) turn.port2.postMessage(0);
      done();
    },
    final(done: () => void) {
      end();
      done();
    },
    destroy(error: Error | null, done: (error: Error | null) => void) {
      end();
      done(error);
    },
  });
  // Packets of one turn of the event loop are one message: a hundred acknowledgements are not a hundred
  // messages. A message channel is not throttled in a hidden tab.
  let waiting: Uint8Array[] = [];
  const turn = new MessageChannel();
  turn.port1.onmessage = flush;
  function flush() {
    if (waiting.length > 0 && ws.readyState === WebSocket.OPEN) ws.send(Buffer.concat(waiting) as Uint8Array<ArrayBuffer>);
    waiting = [];
  }
  function end() {
    flush();
    ws.close();
    turn.port1.close();
  }
  ws.onmessage = (m) => {
    heard();
    stream.push(Buffer.from(m.data as ArrayBuffer));
  };
  ws.onclose = () => stream.destroy();
  return stream;
}
