/** What connect() can be told. Every field is optional. */
export interface Options {
    /** Where the bus is: ws(s):// or http(s)://. Default: where this script came from. `/mqtt` is added when there is no path. */
    url?: string;
    user?: string;
    password?: string;
    /**
     * Sent as the password of an unnamed user, or of `user`; `postbus user token` and POST /api/v1/token make one. A function is
     * asked before every connection, before the token's end, and when the bus has refused the last one; what it throws is status's reason.
     */
    token?: string | (() => string | Promise<string>);
    /** MQTT client identifier. Default: `web-<random>`, kept for this tab. Two open pages must not share one. */
    id?: string;
    /** Seconds for which the bus keeps the session of a page that is away. Default: 604800, seven days. */
    sessionExpiry?: number;
    /** Seconds for which events that no callback wants (yet) are held after the first on(). Default: 2. */
    grace?: number;
    /** Published by the bus when this page is gone without a goodbye. */
    will?: Will;
    /** Ask for sequence, time and source of each event. Default: true. Without it `missed` and repeats cannot be told. */
    meta?: boolean;
    /** How many events may be unacknowledged at a time. Default: 100. */
    inflight?: number;
    /** Bounds of what waits to be sent. Default: 10,000 entries or 16 MiB. */
    outbox?: {
        entries?: number;
        bytes?: number;
    };
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
    /** The payload as JSON; undefined when it is none. Whole numbers that a number would round (beyond 2^53) are BigInt. */
    readonly json: any;
    /** When the bus accepted it; without meta, when it came. */
    readonly time: Date;
    /** Place in the journal; 0 when it has none (QoS 0, or no meta). */
    readonly seq: number;
    /** Client or plugin that published it. */
    readonly source: string;
    /** It is the topic's retained value and not news. */
    readonly retain: boolean;
    readonly qos: 0 | 1;
    /** Events lost for good before this one: the bus says so. */
    readonly missed: number;
    /** It may have been here before, or a callback failed on it. */
    readonly redelivered: boolean;
    readonly properties: Properties;
}
export interface Properties {
    contentType?: string;
    responseTopic?: string;
    correlationData?: Uint8Array;
    /** Seconds that were left when it was sent. */
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
    /** Retained values: "new" (default) when the session has not had this filter yet, "always" (also after a reload), "never". */
    retained?: "new" | "always" | "never";
}
export interface EmitOptions {
    /** 1, the default: resolves when the event is on disk. 0: resolves when it was sent, rejects while offline. */
    qos?: 0 | 1;
    retain?: boolean;
    /** Seconds after which nobody wants it any more. */
    expiry?: number;
}
export interface HistoryOptions {
    /** As in OnOptions. Default: "10m". */
    since?: string | number | Date;
    /** The oldest so many. Default: all. */
    limit?: number;
}
export interface Status {
    state: "connecting" | "online" | "offline";
    /** Since when it is in this state. */
    since: Date;
    /** Since the page went online last: events that were published while it was away, and events lost for good. */
    missed: number;
    /** Of `missed`, those that are lost for good. */
    lost: number;
    /** Emitted and not yet acknowledged by the bus. */
    queued: number;
    /** Why it is not online, as the bus or the browser says. */
    reason?: string;
    /** Which journal the bus has; known a moment after going online, to those who may read events. */
    epoch?: string;
    /** The bus came back with another journal: sequences from before mean nothing now. */
    epochChanged: boolean;
}
/** What failed. `event` and `attempt` are set when a callback did; then the event is tried again, unless the answer is "skip". */
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
    /** Calls back with every event that matches. Returns a function that ends this. */
    on(filter: string, callback: Callback, options?: OnOptions): () => void;
    /** As on(), for one event. */
    once(filter: string, callback: Callback, options?: OnOptions): () => void;
    /** Ends a callback, or all of a filter. */
    off(filter: string, callback?: Callback): void;
    /** Publishes. Resolves when the event is durable on the bus; what cannot be sent now waits in the browser, also over a reload. */
    emit(topic: string, value?: Value, options?: EmitOptions): Promise<void>;
    /**
     * Asks; the answer is the event that respond() made of it. Rejects after timeout milliseconds (default 10,000). The answer comes
     * to `reply/<id>`, or to `<topic>/reply/<id>` where the user may not subscribe to the first.
     */
    request(topic: string, value?: Value, options?: {
        timeout?: number;
    }): Promise<BusEvent>;
    /** Answers requests with what the callback returns. Returns a function that ends this. */
    respond(filter: string, callback: (event: BusEvent) => Value | Promise<Value>): () => void;
    /** Events of the past, oldest first. */
    history(filter: string, options?: HistoryOptions): Promise<BusEvent[]>;
    /** Calls back now and at every change. Returns a function that ends this. */
    status(callback: (status: Status) => void): () => void;
    /** Calls back when a callback failed, or a subscription was refused. Default: console.error. */
    onError(callback: (failure: Failure) => "skip" | void): () => void;
    /** Leaves. The session stays for sessionExpiry, unless forget is set. */
    close(options?: {
        forget?: boolean;
    }): Promise<void>;
}
/**
 * Connects to the bus that served this script, or to options.url. Resolves also when the bus cannot be
 * reached now: then bus.status() says so, and it goes on trying. Rejects when the bus refuses the login.
 */
export declare function connect(options?: Options): Promise<Bus>;
