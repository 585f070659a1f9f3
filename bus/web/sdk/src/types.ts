// This file is the public interface: what connect() takes and what a Bus does. postbus.d.ts is made of it.

/** The options of connect(). All are optional. */
export interface Options {
  /** Where the bus is: ws(s):// or http(s)://. Default: the server of this script. `/mqtt` is added if there is no path. */
  url?: string;
  user?: string;
  password?: string;
  /**
   * Sent as the password of an unnamed user, or of `user`; `postbus user token` and POST /api/v1/token make one. A function is
   * called before every connection, before the token expires, and when the bus has refused the last one; its error becomes the status's reason.
   */
  token?: string | (() => string | Promise<string>);
  /** MQTT client identifier. Default: `web-<random>`, kept for this tab. Two open pages must not share one. */
  id?: string;
  /** Seconds for which the bus keeps the session of an offline page. Default: 604800, seven days. */
  sessionExpiry?: number;
  /** Seconds for which events without a matching callback are held after the first on(). Default: 2. */
  grace?: number;
  /** Last will: published by the bus when the connection ends without DISCONNECT. */
  will?: Will;
  /** Request sequence, time and source of each event. Default: true. Without it `missed` and repetitions are unknown. */
  meta?: boolean;
  /** How many events may be unacknowledged at a time. Default: 100. */
  inflight?: number;
  /** Bounds of the outbox. Default: 10,000 entries or 16 MiB. */
  outbox?: { entries?: number; bytes?: number };
}

export interface Will {
  topic: string;
  value: Value;
  qos?: 0 | 1;
  retain?: boolean;
  /** Seconds to wait before it is published. */
  delay?: number;
}

/**
 * Bytes and strings are sent as they are, everything else as JSON, with BigInt as a whole number; NaN and Infinity are errors.
 * undefined and null are an empty payload, but an error with retain: the empty text "" deletes a retained value.
 */
export type Value = Uint8Array | ArrayBuffer | string | number | bigint | boolean | object | null | undefined;

export interface BusEvent {
  readonly topic: string;
  readonly payload: Uint8Array;
  /** The payload as UTF-8. */
  readonly text: string;
  /** The payload as JSON; undefined if it is not JSON. Whole numbers that a number would round (beyond 2^53) are BigInt. */
  readonly json: any;
  /** When the bus accepted it; without meta, when it arrived. */
  readonly time: Date;
  /** Sequence in the journal; 0 if it has none (QoS 0, or no meta). */
  readonly seq: number;
  /** Client or plugin that published it; `@fleet/BUS/SOURCE` if that was at another bus of the fleet. */
  readonly source: string;
  /** The other bus of the fleet that accepted it first; undefined: this bus did, or no meta. */
  readonly origin: Origin | undefined;
  /** It is the topic's retained value and not a new event. */
  readonly retain: boolean;
  readonly qos: 0 | 1;
  /** Events lost before this one, as the bus reports. */
  readonly missed: number;
  /** It may have been delivered before, or a callback failed on it. */
  readonly redelivered: boolean;
  readonly properties: Properties;
}

export interface Origin {
  /** The other bus's name. */
  readonly bus: string;
  /** When it accepted the event, by this bus's clock; undefined: not known. */
  readonly time: Date | undefined;
}

export interface Properties {
  contentType?: string;
  responseTopic?: string;
  correlationData?: Uint8Array;
  /** Seconds until it expires, at the time of sending. */
  expiry?: number;
  user: Record<string, string | string[]>;
}

/** The event is acknowledged when every matching callback has returned, or its promise has resolved. */
export type Callback = (event: BusEvent) => unknown;

export interface OnOptions {
  /** 1, the default: at least once. 0: only while this page is connected and keeps up. */
  qos?: 0 | 1;
  /** Begin in the past: an age ("10m"), an RFC 3339 time, a Date, or a sequence. Only for the session's first subscription to this filter. */
  since?: string | number | Date;
  /** Retained values: "new" (default) if the session did not have this filter yet, "always" (also after a reload), "never". */
  retained?: "new" | "always" | "never";
}

export interface EmitOptions {
  /** 1, the default: resolves when the event is on disk. 0: resolves when it was sent, rejects while offline. */
  qos?: 0 | 1;
  retain?: boolean;
  /** Message expiry in seconds. */
  expiry?: number;
}

export interface HistoryOptions {
  /** As in OnOptions. Default: "10m". */
  since?: string | number | Date;
  /** The maximum number of events, oldest first. Default: all. */
  limit?: number;
}

export interface Status {
  state: "connecting" | "online" | "offline";
  /** Since when it is in this state. */
  since: Date;
  /** Since the page went online last: events that were published while it was offline, and lost events. */
  missed: number;
  /** Of `missed`, the lost events. */
  lost: number;
  /** Emitted and not yet acknowledged by the bus. */
  queued: number;
  /** Why it is not online, from the bus or the browser. */
  reason?: string;
  /** Identifies the bus's journal; known shortly after going online, to users who may read events. */
  epoch?: string;
  /** The bus has another journal now: earlier sequences are not comparable. */
  epochChanged: boolean;
}

/** A failure. `event` and `attempt` are set if a callback failed; the event is then retried, unless the result is "skip". */
export interface Failure {
  error: Error;
  event?: BusEvent;
  attempt?: number;
  filter?: string;
}

export interface Bus {
  /** The MQTT client identifier. */
  readonly id: string;
  /** The state now. */
  readonly current: Status;
  /** Calls back with every event that matches. Returns a function that removes the callback. */
  on(filter: string, callback: Callback, options?: OnOptions): () => void;
  /** As on(), for one event. */
  once(filter: string, callback: Callback, options?: OnOptions): () => void;
  /** Removes a callback, or all of a filter. */
  off(filter: string, callback?: Callback): void;
  /** Publishes. Resolves when the event is durable on the bus; while offline it waits in the browser, also over a reload. */
  emit(topic: string, value?: Value, options?: EmitOptions): Promise<void>;
  /**
   * Sends a request and returns the response event. Rejects after timeout milliseconds (default 10,000). The response topic is
   * `reply/<id>`, or `<topic>/reply/<id>` if the user may not subscribe to the first.
   */
  request(topic: string, value?: Value, options?: { timeout?: number }): Promise<BusEvent>;
  /** Answers requests with the callback's result. Returns a function that ends this. */
  respond(filter: string, callback: (event: BusEvent) => Value | Promise<Value>): () => void;
  /** Events from the journal, oldest first. */
  history(filter: string, options?: HistoryOptions): Promise<BusEvent[]>;
  /** Calls back now and at every change. Returns a function that removes the callback. */
  status(callback: (status: Status) => void): () => void;
  /** Calls back when a callback failed, or a subscription was refused. Default: console.error. */
  onError(callback: (failure: Failure) => "skip" | void): () => void;
  /** Disconnects. The session remains for sessionExpiry, unless forget is set. */
  close(options?: { forget?: boolean }): Promise<void>;
}
