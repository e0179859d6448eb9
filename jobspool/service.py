"""The unit that lets systemd run the workers of a spool."""

from __future__ import annotations

import os
import re

from jobspool.trust import user_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jobspool.spool import Spool

UNIT = """\
[Unit]
Description=queuectl workers of {spool}
Documentation=man:queuectl(1)
RequiresMountsFor={spool}

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} --spool {spool} {words}
ExecReload={command} --spool {spool} config list
ExecStop={command} --spool {spool} stop --quiet --timeout 60
KillMode=mixed
KillSignal=SIGQUIT
TimeoutStopSec=90
Restart=on-failure
{user}# What jobs need of this machine decides; take out what keeps yours from their work.
LockPersonality=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictRealtime=yes

[Install]
WantedBy={target}
"""


def unit(spool: Spool, program: list[str], options: list[str], own: bool) -> str:
    """Return the unit's text, for the command whose first words are `program`; `start` gets the options.

    What systemd would expand in paths is doubled: see systemd.service(5).
    """

    def word(text: str) -> str:
        text = text.replace("%", "%%")
        return text if re.fullmatch(r"[\w./%+@:=-]+", text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    command = " ".join(map(word, program))
    user = "" if own else f"User={user_name(os.stat(spool.root).st_uid)}\n"
    target = "default.target" if own else "multi-user.target"
    return UNIT.format(
        command=command, spool=word(spool.root), words=" ".join(map(word, ["start", *options])), user=user, target=target
    )
