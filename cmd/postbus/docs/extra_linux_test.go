// This file is the test's steps in addition to the documents: a reader's manual actions, and the
// expected results.

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// after is a step after the first block that contains a text.
func after(text, kind, do string) step {
	return step{block: block{kind: kind, path: text, text: do}}
}

// extra are steps in addition to those of a document: sh as the user, root, and cut, which is a
// power cut.
var extra = map[string][]step{
	"raspberry-pi.md": {
		after("sudo postbus service install", "root", `
systemd-analyze verify /etc/systemd/system/postbus.service
systemd-analyze security --no-pager postbus | tail -n 1
[ "$(systemctl is-enabled postbus)" = enabled ]
pid=$(systemctl show -P MainPID postbus)
[ "$(ps -o user= -p $pid)" = postbus ]
grep -q 'NoNewPrivs:.1' /proc/$pid/status
! grep -E "^Groups:.*\b$(getent group gpio | cut -d: -f3)\b" /proc/$pid/status
systemctl show -P WatchdogUSec postbus | grep -x 1min
systemd-analyze security --no-pager postbus | tail -n 1
su -s /bin/bash nobody -c '! cat /etc/postbus/postbus.yaml'
! journalctl -u postbus -o cat --no-pager | grep -E 'mode is different|Ignoring|level=(WARN|ERROR)'
systemctl reload postbus
journalctl -u postbus -o cat --no-pager | grep -q 'config reloaded.*SIGHUP'
kill -9 $pid # and systemd starts it again
until [ "$(systemctl is-active postbus)" = active ] && [ "$(systemctl show -P MainPID postbus)" != $pid ]; do sleep 0.5; done`),
		after("sudo postbus service install", "sh", `
# What is refused, and how.
! sudo /home/pi/postbus service install
cp postbus /tmp/ && ! /tmp/postbus service install; rm /tmp/postbus
! sudo postbus service install --user
! postbus service uninstall
! postbus service install # of one's own, on the same ports
postbus service uninstall
sudo mv /etc/systemd/system/postbus.service /tmp/; echo '[Service]' | sudo tee /etc/systemd/system/postbus.service
! sudo postbus service install
sudo mv /tmp/postbus.service /etc/systemd/system/
postbus service install --print >/tmp/unit; grep -q 'Type=notify' /tmp/unit
sudo postbus service install --print | diff - /etc/systemd/system/postbus.service`),
		after("home/hall/doorbell -m", "cut", ""),
		after("home/hall/doorbell -m", "sh", `
until systemctl --quiet is-active postbus; do sleep 0.5; done
[ "$(postbus sub -t home/hall/doorbell -n 1)" = '{"pressed": true}' ] # what it was before the power cut
curl -fsS -u 'pi:my own long password' http://raspberrypi.local:8080/examples/ | grep -i '<html'
[ "$(curl -s -o /dev/null -w '%{http_code}' http://raspberrypi.local:8080/api/v1/plugins)" = 401 ]`),
		after("postbus plugin approve uname", "sh", `
sleep 2
POSTBUS_URL=unix:///run/postbus/mqtt.sock postbus sub -t 'devices/+/kernel' -n 1 | grep -x "$(uname -r)"
# A program of a plugin has the devices that are granted, and may write where the service may.
pid=$(systemctl show -P MainPID postbus)
for g in gpio i2c dialout; do grep -qE "^Groups:.*\b$(getent group $g | cut -d: -f3)\b" /proc/$pid/status; done
sudo mkdir -m 777 /srv/data
sudo tee /etc/postbus/plugins.d/probe.yaml <<'END'
source:
  exec: {command: [sh, -c, "stty -F /dev/ttyS0 >/dev/null && echo device; touch /var/lib/postbus/x /run/postbus/x /tmp/x && echo own; touch /srv/data/x && echo more"], every: 2s}
publish: [{topic: probe, payload: "${event.text} ${event.stderr}", retain: true}]
END
sudo -u postbus postbus plugin approve probe --config /etc/postbus/postbus.yaml
sleep 5
POSTBUS_URL=unix:///run/postbus/mqtt.sock postbus sub -t probe -n 1 | tee /tmp/probe
tr '\n' ' ' </tmp/probe | grep -q 'device own .*Read-only file system'
sudo mkdir -p /etc/systemd/system/postbus.service.d
printf '[Service]\nReadWritePaths=/srv/data\n' | sudo tee /etc/systemd/system/postbus.service.d/override.conf
sudo systemctl daemon-reload; sudo systemctl restart postbus; sleep 4
POSTBUS_URL=unix:///run/postbus/mqtt.sock postbus sub -t probe -n 1 | tr '\n' ' ' | grep 'device own more'
sudo postbus service revoke serial; sleep 4
POSTBUS_URL=unix:///run/postbus/mqtt.sock postbus sub -t probe -n 1 | tr '\n' ' ' | grep -E '^own more.*ttyS0: (Permission denied|Operation not permitted)'
sudo postbus service grant | grep -E '^serial +no'
sudo postbus service grant serial
! sudo postbus service grant seriel
# A secret that others may read, and one that they may not.
sudo mkdir /etc/postbus/secrets; echo t0ken >token; sudo install -m 644 token /etc/postbus/secrets/
sudo tee /etc/postbus/plugins.d/secret.yaml <<'END'
source: {webhook: {path: /hooks/x, hmac_sha256: {header: X-Sign, key: "secret:token"}}}
publish: [{topic: x, payload: "${event.text}"}]
END
sleep 2; postbus plugin list | grep '^secret'
sudo install -o postbus -m 600 token /etc/postbus/secrets/
sudo systemctl restart postbus; sleep 2; postbus plugin list | grep '^secret *running'
# The data elsewhere, as on an SSD.
sudo sed -i 's#^data_dir:.*#data_dir: /srv/ssd/postbus#' /etc/postbus/postbus.yaml
sudo postbus service install
grep -x 'ReadWritePaths=/srv/ssd/postbus' /etc/systemd/system/postbus.service
sudo ls /srv/ssd/postbus
sudo sed -i 's#^data_dir:.*#data_dir: /var/lib/postbus#' /etc/postbus/postbus.yaml
sudo postbus service install`),
		after("sudo postbus service uninstall", "sh", `
! systemctl is-active postbus
! systemctl cat postbus
[ -d /var/lib/postbus ]; sudo test -e /etc/postbus/plugins.d/doorbell.yaml
! sudo postbus service uninstall
unset POSTBUS_URL; ! postbus pub -t x -m x
sudo journalctl -u postbus --no-pager -o cat | grep -E 'open to the network, but|level=ERROR' | tail -n 3`),
	},
	"desktop.md": {
		after("service install --user", "sh", `
systemd-analyze verify --user ~/.config/systemd/user/postbus.service
[ "$(systemctl --user is-enabled postbus)" = enabled ]
[ "$(ps -o user= -p $(systemctl --user show -P MainPID postbus))" = me ]
systemctl --user reload postbus; journalctl --user -u postbus -o cat --no-pager | tail -n 2
~/.local/bin/postbus service install # which is --user here
! env -u XDG_RUNTIME_DIR ~/.local/bin/postbus service install
mkdir -p x; cp postbus x/; cd x; printf 'listen: {mqtt: ["tcp://127.0.0.1:22"], http: "off"}\n' >bad.yaml
! ~/.local/bin/postbus service install --config bad.yaml
printf 'listen: {mqtx: 3}\n' >bad.yaml
! ~/.local/bin/postbus service install --config bad.yaml
printf 'profile: pi\n' >bad.yaml
~/.local/bin/postbus service install --config bad.yaml
~/.local/bin/postbus service install | grep -x '  config   /home/me/x/bad.yaml' # an update keeps it
~/.local/bin/postbus service uninstall | grep -x '  config   /home/me/x/bad.yaml'
cd; ~/.local/bin/postbus service install`),
		after("service install --user", "sh", "systemd-run --user --quiet --unit desktop --setenv DOCS_DESKTOP=1 /docs/desktop"),
		after("desktop/#", "sh", `
# The player plays, and is paused; the session is locked, as a desktop tells it.
postbus sub -t 'desktop/+/music' -n 1 | grep '"status":"playing","title":"So What","artist":"Miles Davis"'
postbus pub -t home/phone/ringing -m 1; sleep 2
postbus sub -t desktop/+/music -n 1 | grep '"status":"paused"'
[ "$(postbus sub -t desktop/raspberrypi/locked -n 1)" = false ]
session=$(loginctl --no-legend | awk '/seat0/ {print $1}')
busctl call org.freedesktop.login1 $(busctl --json=short call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager GetSession s $session | grep -o '/[^"]*') org.freedesktop.login1.Session SetLockedHint b true
sleep 2
[ "$(postbus sub -t desktop/raspberrypi/locked -n 1)" = true ]`),
		after("pub -t home/hall/doorbell", "sh", `
sleep 2
journalctl --user -u desktop -o cat --no-pager | grep -x 'shown: Doorbell: Somebody is at the hall .*'
postbus sub -t home/hall/door/open --since 1m -n 1 | grep -x '{"by":"raspberrypi"}'`),
		after("postbus plugin explain home/leaving", "sh", `
sleep 2
[ -e ~/.config/postbus/plugins.d/left-home ]
postbus plugin list | grep -E '^leaving +running'`),
		after("service uninstall", "sh", `
! systemctl --user is-active postbus
[ -d ~/.local/state/postbus ]
! postbus service uninstall
# What is refused, and how.
postbus run --http off --data-dir d >/dev/null 2>&1 & sleep 2
! postbus service install
kill %1; wait %1
postbus run --http off --mqtt tcp://127.0.0.1:1900 >/dev/null 2>&1 & sleep 2
! postbus service install
kill %1; wait %1
postbus service uninstall`),
	},
}

var errorRow = regexp.MustCompile("(?m)^\\| `([^`]+)`")

// checkErrors checks that the errors that a document explains were seen. It searches for the others
// in the source.
func checkErrors(t *testing.T, name, out string) {
	t.Helper()
	doc, err := os.ReadFile("../../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "| it says |")
	var source strings.Builder
	files, _ := filepath.Glob("../../../devices/*/*.go")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	rows := errorRow.FindAllStringSubmatch(table, -1)
	if len(rows) == 0 {
		t.Errorf("%s explains no errors", name)
	}
	for _, m := range rows {
		if pattern(m[1]).MatchString(out) {
			t.Logf("seen: %s", m[1])
			continue
		}
		found := false
		for _, part := range strings.Split(m[1], "…") {
			part = regexp.MustCompile(`/dev/\S+|GPIO\d+|i2c-\d`).ReplaceAllString(part, "")
			if part = strings.TrimSpace(part); part != "" && strings.Contains(source.String(), part) {
				found = true
			}
		}
		if !found {
			t.Errorf("docs/%s explains %q, which nothing says", name, m[1])
		} else {
			t.Logf("only in the source, not provoked here: %s", m[1])
		}
	}
}
