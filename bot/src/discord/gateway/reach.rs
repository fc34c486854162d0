//! Why Discord cannot be reached, as the owner can mend it: the way there is tried step by step, name, route, door.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use daemon_kit::doctor::Finding;
use daemon_kit::text::Text;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long each step may take.
const STEP_WITHIN: Duration = Duration::from_secs(10);

/// What keeps us from `address`; `None` when that is no address at all.
pub(super) async fn diagnose(address: &str) -> Option<Finding> {
    let url = reqwest::Url::parse(address).ok()?;
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let shown = format!("{host}:{port}");
    let found = match timeout(
        STEP_WITHIN,
        lookup_host((host.trim_matches(['[', ']']), port)),
    )
    .await
    {
        Ok(Ok(found)) => found.collect::<Vec<_>>(),
        Ok(Err(error)) => return Some(no_name(&format!("{host}: {error}"))),
        Err(_) => return Some(no_name(&format!("{host}: no answer from the name server"))),
    };
    let Some(first) = found.first() else {
        return Some(no_name(&shown));
    };
    Some(match connect(&found).await {
        Ok(()) => no_talk(&shown),
        Err(kind @ (ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable)) => {
            no_route(&format!("{shown} ({first}): {kind}"))
        }
        Err(kind) => no_door(&format!("{shown} ({first}): {kind}")),
    })
}

/// Any of the addresses will do; the last failure is the one to explain.
async fn connect(addresses: &[SocketAddr]) -> Result<(), ErrorKind> {
    let mut failure = ErrorKind::TimedOut;
    // A name server may give many: three of them are proof enough.
    for address in addresses.iter().take(3) {
        match timeout(STEP_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => failure = error.kind(),
            Err(_) => failure = ErrorKind::TimedOut,
        }
    }
    Err(failure)
}

fn no_name(evidence: &str) -> Finding {
    Finding::error(
        "discord.dns",
        Text::new(
            "Discord の名前を引けません (DNS)",
            "Discord's name cannot be looked up (DNS)",
        ),
        evidence,
        Text::new(
            "NAS の DNS サーバーの設定とルーターを確かめてください。Synology でファイアウォールを使っているなら 172.16.0.0/12 を許可してください。直れば自動でつながります",
            "check the NAS's DNS server setting and the router; if a Synology's firewall is on, allow 172.16.0.0/12 there. I connect by myself once it is mended",
        ),
    )
}

fn no_route(evidence: &str) -> Finding {
    Finding::error(
        "discord.route",
        Text::new(
            "このコンテナから外への道がありません",
            "there is no way out of this container",
        ),
        evidence,
        Text::new(
            "NAS のゲートウェイの設定と、コンテナのネットワーク (bot に network_mode: none を付けていないか) を確かめてください。直れば自動でつながります",
            "check the NAS's gateway setting and the container's network (no network_mode: none for the bot). I connect by myself once it is mended",
        ),
    )
}

fn no_door(evidence: &str) -> Finding {
    Finding::error(
        "discord.door",
        Text::new("Discord までつながりません", "Discord cannot be reached"),
        evidence,
        Text::new(
            "外向きの 443 番がファイアウォールやルーターで止められていないか確かめてください (内向きのポートは要りません)。Discord 自体が止まっていることもあります。直れば自動でつながります",
            "check that no firewall or router blocks outgoing port 443 (no incoming port is needed); Discord itself may be down. I connect by myself once it is mended",
        ),
    )
}

fn no_talk(evidence: &str) -> Finding {
    Finding::error(
        "discord.talk",
        Text::new(
            "Discord には届きますが、話が通じません",
            "Discord is reached, but does not answer as it should",
        ),
        evidence,
        Text::new(
            "NAS の時計 (NTP) を確かめてください。通信を検査する装置がある場合は、その証明書を EXTRA_CA_FILE に指定します。Discord の障害のこともあります。直れば自動でつながります",
            "check the NAS's clock (NTP); if something inspects the traffic, name its certificate in EXTRA_CA_FILE; Discord itself may be in trouble. I connect by myself once it is mended",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn id_of(address: &str) -> Option<&'static str> {
        diagnose(address).await.map(|finding| finding.id)
    }

    #[tokio::test]
    async fn each_step_of_the_way_has_its_own_cure() {
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = open.local_addr().unwrap().port();
        let address = format!("http://127.0.0.1:{port}");
        assert_eq!(id_of(&address).await, Some("discord.talk"));
        drop(open);
        assert_eq!(id_of(&address).await, Some("discord.door"));
        assert_eq!(
            id_of("https://no-such-host.invalid").await,
            Some("discord.dns")
        );
        assert_eq!(id_of("discord").await, None);
    }
}
