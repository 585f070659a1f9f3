// A device as with esp-mqtt: MQTT 3.1.1 over mbedTLS, TLS 1.2 with a client certificate, records of at most 512
// bytes, a persistent session, QoS 1, a last will, and pings. It prints a line for all that happens, and answers
// each event with one to dev/ID/echo.
//
//	esp HOST PORT CA CERT KEY ID
//
// A byte on standard input is DISCONNECT.
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define KEEP_ALIVE 2 // seconds
#define SIZE 2048    // of a packet

static mbedtls_ssl_context ssl;
static const char *id;

static void check(int code, const char *what) {
	if (code == 0)
		return;
	printf("error %s -0x%04x\n", what, -code);
	exit(1);
}

static void send_all(const unsigned char *p, size_t n) {
	while (n > 0) {
		int sent = mbedtls_ssl_write(&ssl, p, n);
		if (sent == MBEDTLS_ERR_SSL_WANT_READ || sent == MBEDTLS_ERR_SSL_WANT_WRITE)
			continue;
		if (sent < 0)
			check(sent, "write");
		p += sent, n -= sent;
	}
}

static size_t text(unsigned char *b, const char *s) {
	size_t n = strlen(s);
	b[0] = n >> 8, b[1] = n;
	memcpy(b + 2, s, n);
	return n + 2;
}

// send_packet puts the header before the body.
static void send_packet(unsigned char first, const unsigned char *body, size_t n) {
	unsigned char b[SIZE + 4];
	size_t at = 0, left = n;
	b[at++] = first;
	do {
		b[at] = left % 128;
		left /= 128;
		if (left > 0)
			b[at] |= 128;
		at++;
	} while (left > 0);
	memcpy(b + at, body, n);
	send_all(b, at + n);
}

static void publish(const char *name, const char *payload, int retain) {
	static unsigned short number;
	unsigned char b[SIZE];
	char topic[128];
	snprintf(topic, sizeof topic, "dev/%s", name);
	size_t n = text(b, topic);
	if (++number == 0)
		number = 1;
	b[n++] = number >> 8, b[n++] = number;
	size_t size = strlen(payload);
	if (n + size > sizeof b)
		exit(1);
	memcpy(b + n, payload, size);
	send_packet(0x32 | retain, b, n + size);
}

// received handles one packet.
static void received(unsigned char first, unsigned char *b, size_t n) {
	switch (first >> 4) {
	case 2: // CONNACK
		printf("connected %d present %d\n", b[1], b[0] & 1);
		if (b[1] != 0)
			exit(1);
		break;
	case 3: { // PUBLISH
		size_t size = b[0] << 8 | b[1], at = 2 + size;
		if ((first & 6) == 2)
			at += 2;
		printf("event %.*s %.*s\n", (int)size, b + 2, (int)(n - at), b + at);
		char answer[256], topic[64];
		snprintf(answer, sizeof answer, "%.*s", (int)(n - at), b + at);
		snprintf(topic, sizeof topic, "%s/echo", id);
		publish(topic, answer, 0);
		if ((first & 6) == 2)
			send_packet(0x40, b + 2 + size, 2); // PUBACK
		break;
	}
	case 4:
		printf("acknowledged\n");
		break;
	case 9:
		printf("subscribed %d\n", b[2]);
		break;
	case 13:
		printf("pong\n");
		break;
	}
}

int main(int argc, char **argv) {
	if (argc != 7)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	id = argv[6];
	mbedtls_net_context net;
	mbedtls_ssl_config conf;
	mbedtls_x509_crt ca, cert;
	mbedtls_pk_context key;
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_net_init(&net);
	mbedtls_ssl_init(&ssl);
	mbedtls_ssl_config_init(&conf);
	mbedtls_x509_crt_init(&ca);
	mbedtls_x509_crt_init(&cert);
	mbedtls_pk_init(&key);
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	check(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "seed");
	check(mbedtls_x509_crt_parse_file(&ca, argv[3]), "ca");
	check(mbedtls_x509_crt_parse_file(&cert, argv[4]), "cert");
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
	check(mbedtls_pk_parse_keyfile(&key, argv[5], NULL, mbedtls_ctr_drbg_random, &random), "key");
#else
	check(mbedtls_pk_parse_keyfile(&key, argv[5], NULL), "key");
#endif
	check(mbedtls_ssl_config_defaults(&conf, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT), "config");
	mbedtls_ssl_conf_max_version(&conf, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
	mbedtls_ssl_conf_authmode(&conf, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_ca_chain(&conf, &ca, NULL);
	check(mbedtls_ssl_conf_own_cert(&conf, &cert, &key), "own certificate");
	mbedtls_ssl_conf_rng(&conf, mbedtls_ctr_drbg_random, &random);
	check(mbedtls_ssl_conf_max_frag_len(&conf, MBEDTLS_SSL_MAX_FRAG_LEN_512), "fragment length");
	mbedtls_ssl_conf_read_timeout(&conf, 100);
	check(mbedtls_ssl_setup(&ssl, &conf), "setup");
	check(mbedtls_ssl_set_hostname(&ssl, argv[1]), "host name");
	check(mbedtls_net_connect(&net, argv[1], argv[2], MBEDTLS_NET_PROTO_TCP), "connect");
	mbedtls_ssl_set_bio(&ssl, &net, mbedtls_net_send, mbedtls_net_recv, mbedtls_net_recv_timeout);
	for (int code;;) {
		code = mbedtls_ssl_handshake(&ssl);
		if (code == MBEDTLS_ERR_SSL_TIMEOUT || code == MBEDTLS_ERR_SSL_WANT_READ || code == MBEDTLS_ERR_SSL_WANT_WRITE)
			continue;
		check(code, "handshake");
		break;
	}
	printf("tls %s %s\n", mbedtls_ssl_get_version(&ssl), mbedtls_ssl_get_ciphersuite(&ssl));

	unsigned char b[SIZE];
	char topic[128];
	size_t n = text(b, "MQTT");
	b[n++] = 4, b[n++] = 0x2C; // a last will of QoS 1, retained; not a clean session
	b[n++] = 0, b[n++] = KEEP_ALIVE;
	n += text(b + n, id);
	snprintf(topic, sizeof topic, "dev/%s/status", id);
	n += text(b + n, topic);
	n += text(b + n, "offline");
	send_packet(0x10, b, n);
	b[0] = 0, b[1] = 9;
	snprintf(topic, sizeof topic, "cmd/%s/#", id);
	n = 2 + text(b + 2, topic);
	b[n++] = 1;
	send_packet(0x82, b, n);
	snprintf(topic, sizeof topic, "%s/status", id);
	publish(topic, "online", 1);
	publish("another/status", "stolen", 1);

	unsigned char in[SIZE];
	size_t have = 0;
	time_t pinged = time(NULL);
	for (;;) {
		struct pollfd input = {.fd = 0, .events = POLLIN};
		if (poll(&input, 1, 0) > 0) {
			send_packet(0xE0, b, 0);
			mbedtls_ssl_close_notify(&ssl);
			printf("bye\n");
			return 0;
		}
		if (time(NULL) - pinged >= KEEP_ALIVE / 2) {
			send_packet(0xC0, b, 0);
			pinged = time(NULL);
		}
		int code = mbedtls_ssl_read(&ssl, in + have, sizeof in - have);
		if (code == MBEDTLS_ERR_SSL_TIMEOUT || code == MBEDTLS_ERR_SSL_WANT_READ)
			continue;
		if (code <= 0) {
			printf("ended -0x%04x\n", -code);
			return 1;
		}
		for (have += code;;) {
			size_t size = 0, at = 1, shift = 0;
			int complete = 0;
			while (at < have && at < 5) {
				size |= (size_t)(in[at] & 127) << shift;
				shift += 7;
				if (in[at++] < 128) {
					complete = 1;
					break;
				}
			}
			if (!complete || have < at + size)
				break;
			received(in[0], in + at, size);
			have -= at + size;
			memmove(in, in + at + size, have);
		}
	}
}
