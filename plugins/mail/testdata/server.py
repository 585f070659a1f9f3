# An SMTP server for the test: Debian's python3-aiosmtpd, with STARTTLS or TLS, a login, recipients that it refuses or
# defers, and each mail as a line of JSON.
import asyncio, json, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

mode, cert, key, mechanisms = sys.argv[1:5]

class Handler:
    deferred = set()
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        if address.startswith("grey") and address not in self.deferred:
            self.deferred.add(address)
            return "451 4.7.1 greylisted, come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"
    async def handle_DATA(self, server, session, envelope):
        if b"REFUSE" in envelope.content:
            return "554 5.7.1 looks like spam"
        print(json.dumps({"from": envelope.mail_from, "to": envelope.rcpt_tos, "body": envelope.content.decode("latin-1"),
            "tls": mode == "tls" or session.ssl is not None, "user": (session.auth_data or b"").decode()}), flush=True)
        return "250 OK"

def login(server, session, envelope, mechanism, data):
    if data.login == b"house" and data.password == b"open sesame":
        return AuthResult(success=True, auth_data=data.login)
    return AuthResult(success=False, handled=False)

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if cert != "-":
        context.load_cert_chain(cert, key)
    exclude = [m for m in ("PLAIN", "LOGIN") if mechanisms != "-" and m not in mechanisms.split(",")]
    loop = asyncio.get_running_loop()
    make = lambda: SMTP(Handler(), hostname="mail.test", tls_context=context if mode == "starttls" else None, authenticator=login,
        auth_require_tls=mode != "tls", auth_exclude_mechanism=exclude, decode_data=False, enable_SMTPUTF8=False)
    server = await loop.create_server(make, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read) # until the test ends

asyncio.run(main())
