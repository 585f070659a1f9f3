// This file is request and response: a request carries a response topic and correlation data
// [MQTT-4.10].

import { bytesOf } from "./event";
import { random } from "./tab";
import type { PublishOptions } from "./link";
import type { BusEvent, Callback, OnOptions, Value } from "./types";

const defaultTimeout = 10_000;
const failure = "error"; // user property of an error response

export interface Asking {
  id(): string;
  on(filter: string, callback: Callback, options?: OnOptions): () => void;
  /** Resolves when the bus has the filter. */
  stands(filter: string): Promise<void>;
  publish(topic: string, payload: Uint8Array, options: PublishOptions): Promise<void>;
  withdraw(options: PublishOptions): void;
}

export class Requests {
  private open = new Map<string, { resolve(e: BusEvent): void; reject(e: Error): void }>();
  private id = "";
  private heard = new Map<string, () => void>(); // response topics, and functions that unsubscribe from them

  constructor(private bus: Asking) {}

  /**
   * The response topic for requests to topic: reply/<id>, or below topic itself for a user whose rules have no reply/. It resolves
   * when the bus has the subscription, and rejects when the bus refuses both.
   */
  private async answers(topic: string): Promise<string> {
    const id = this.bus.id();
    if (this.id !== id) {
      for (const off of this.heard.values()) off();
      this.heard.clear();
      this.id = id;
    }
    const own = `reply/${id}`;
    const places = [own, `${topic}/${own}`];
    for (const place of places) {
      if (!this.heard.has(place)) this.heard.set(place, this.bus.on(place, (e) => this.answered(e), { retained: "never" }));
      try {
        await this.bus.stands(place);
        return place;
      } catch {
        this.heard.get(place)?.();
        this.heard.delete(place);
      }
    }
    throw new Error(`the request to ${topic} was not sent: this user may subscribe to neither ${places.join(" nor ")}, the possible response topics; allow one, as in postbus user add … --subscribe 'reply/#'`);
  }

  request(topic: string, value: Value, timeout = defaultTimeout): Promise<BusEvent> {
    const number = random();
    const options: PublishOptions = {
      correlationData: bytesOf(number),
      expiry: Math.max(1, Math.ceil(timeout / 1000)), // the caller no longer waits after that
    };
    return new Promise<BusEvent>((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        this.open.delete(number);
      };
      const timer = setTimeout(() => {
        end();
        this.bus.withdraw(options);
        reject(new Error(`no answer from ${topic} within ${timeout} ms`));
      }, timeout);
      this.open.set(number, {
        resolve: (e) => (end(), resolve(e)),
        reject: (e) => (end(), reject(e)),
      });
      // Not before the response topic is subscribed.
      this.answers(topic)
        .then((place) => {
          options.responseTopic = place;
          return this.open.has(number) ? this.bus.publish(topic, bytesOf(value), options) : undefined;
        })
        .catch((e: Error) => this.open.get(number)?.reject(e));
    });
  }

  respond(filter: string, callback: (event: BusEvent) => Value | Promise<Value>): () => void {
    return this.bus.on(filter, async (e) => {
      const { responseTopic, correlationData } = e.properties;
      if (responseTopic === undefined) {
        await callback(e);
        return;
      }
      const options: PublishOptions = { correlationData };
      let answer: Value;
      try {
        answer = await callback(e);
      } catch (error) {
        // The requester gets the error, and decides about a retry.
        answer = error instanceof Error ? error.message : String(error);
        options.user = { [failure]: "1" };
      }
      // Do not wait: the response is in the outbox, and there may be no connection.
      this.bus.publish(responseTopic, bytesOf(answer), options).catch(() => {});
    });
  }

  private answered(e: BusEvent): void {
    const asked = this.open.get(new TextDecoder().decode(e.properties.correlationData));
    if (!asked) return; // too late, or for an earlier page
    if (e.properties.user[failure] !== undefined) asked.reject(new Error(e.text));
    else asked.resolve(e);
  }
}
