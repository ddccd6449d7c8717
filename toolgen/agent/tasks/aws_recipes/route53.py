"""Recipes of hosted zones and their records."""

from toolgen.agent.tasks.patterns import got, had, seen
from toolgen.agent.tasks.recipes import Do, Recipe, check, then
from toolgen.agent.tasks.words import name, one_of, sentence
from toolgen.queries import Call


def _zone(zone: str) -> dict[str, object]:
    return {"Name": zone, "CallerReference": zone}


_ZONE = Call("route53.CreateHostedZone", _zone("{zone}"))
_OTHER = Call("route53.CreateHostedZone", _zone("{other}"))
_SLOTS = {"zone": name(after=".example.com"), "other": name(after=".example.org")}
_RECORDS = _SLOTS | {"address": one_of("192.0.2.10", "192.0.2.55", "198.51.100.7", "203.0.113.90")}
_LOOK = check("route53.ListHostedZones", {}, {"HostedZones": [{"Name": "{zone}."}]})
_OTHER_STANDS = check("route53.ListHostedZones", {}, {"HostedZones": [{"Name": "{other}."}]})
_GONE = check("route53.ListHostedZones", {}, {"HostedZones": {"$not": [{"Name": "{zone}."}]}})
_FIND = Do("route53.ListHostedZonesByName", {"DNSName": "{zone}"}, "I look for the zone {zone}.")
_FOUND = {"id": got(1, "HostedZones", {"Name": "{zone}."}, "Id")}
_CREATE = Do("route53.CreateHostedZone", _zone("{zone}"), "First I create the zone {zone}.")
_RECORD = Do(
    "route53.ChangeResourceRecordSets",
    {
        "HostedZoneId": "{id}",
        "ChangeBatch": {
            "Changes": [
                {
                    "Action": "CREATE",
                    "ResourceRecordSet": {
                        "Name": "www.{zone}",
                        "Type": "A",
                        "TTL": 300,
                        "ResourceRecords": [{"Value": "{address}"}],
                    },
                }
            ]
        },
    },
    "I add the record to {id}.",
)
_RESOLVED = then(
    _LOOK,
    "route53.ListResourceRecordSets",
    {"HostedZoneId": seen(1, "HostedZones", {"Name": "{zone}."}, "Id")},
    {"ResourceRecordSets": [{"Name": "www.{zone}.", "Type": "A", "ResourceRecords": [{"Value": "{address}"}]}]},
)

RECIPES = (
    Recipe(
        "route53-create",
        _SLOTS,
        (
            "create a hosted zone {zone}, with its name as the caller reference",
            "make a Route 53 zone for {zone}; let the caller reference be {zone}, too",
            "set up the DNS zone {zone} (caller reference {zone})",
            "add the hosted zone {zone} with the caller reference {zone}",
            "host the domain {zone} in Route 53, caller reference {zone}",
        ),
        (Do("route53.CreateHostedZone", _zone("{zone}"), "I create the zone {zone}."),),
        (_LOOK, _OTHER_STANDS),
        "The zone {zone} is there.",
        setup=(_OTHER,),
    ),
    Recipe(
        "route53-delete-id",
        _SLOTS,
        (
            "delete the hosted zone {id}",
            "remove the Route 53 zone with the id {id}",
            "get rid of the DNS zone {id}",
            "drop the hosted zone whose id is {id}",
            "throw the zone {id} away",
        ),
        (Do("route53.DeleteHostedZone", {"Id": "{id}"}, "I delete the zone {id}."),),
        (_GONE, _OTHER_STANDS),
        "The zone is gone.",
        setup=(_ZONE, _OTHER),
        refs={"id": had(1, "HostedZone", "Id")},
    ),
    Recipe(
        "route53-comment",
        _SLOTS | {"text": sentence()},
        (
            'set the comment of the hosted zone {zone} to "{text}"',
            'find the Route 53 zone {zone} and write "{text}" as its comment',
            'let the comment on the DNS zone {zone} be "{text}"',
            'look up the hosted zone {zone} and change its comment to "{text}"',
            'note at the zone {zone}: "{text}"',
        ),
        (
            _FIND,
            Do("route53.UpdateHostedZoneComment", {"Id": "{id}", "Comment": "{text}"}, "I write the comment of {id}."),
        ),
        (
            check(
                "route53.ListHostedZones", {}, {"HostedZones": [{"Name": "{zone}.", "Config": {"Comment": "{text}"}}]}
            ),
        ),
        "The zone {zone} has its comment.",
        setup=(_OTHER, _ZONE),
        refs=_FOUND,
    ),
    Recipe(
        "route53-find-record",
        _RECORDS,
        (
            "let www.{zone} point to {address}, with a TTL of 300",
            "find the Route 53 zone {zone} and create the A record www.{zone} with {address} there, TTL 300",
            "look up the hosted zone {zone} and add an A record for www.{zone}: {address}, 300 seconds",
            "add www.{zone} to the DNS zone {zone} as {address} (type A, TTL 300)",
            "give the zone {zone} an A record www.{zone} that says {address} and lives for 300 seconds",
        ),
        (_FIND, _RECORD),
        (_RESOLVED,),
        "www.{zone} points to {address}.",
        setup=(_OTHER, _ZONE),
        refs=_FOUND,
    ),
    Recipe(
        "route53-create-record",
        _RECORDS,
        (
            "create a hosted zone {zone} (caller reference {zone}) and let www.{zone} point to {address}, TTL 300",
            "make a Route 53 zone {zone}, caller reference {zone}, with the A record www.{zone} {address}, TTL 300",
            "set up the DNS zone {zone}, also its caller reference, and add www.{zone}: A, 300 seconds, {address}",
            "host {zone} in Route 53 with the caller reference {zone}; www.{zone} is an A record to {address}, TTL 300",
            "open the zone {zone} with {zone} as caller reference, then create www.{zone} (A, TTL 300) for {address}",
        ),
        (_CREATE, _RECORD),
        (_RESOLVED,),
        "The zone {zone} is there, and www.{zone} points to {address}.",
        setup=(_OTHER,),
        refs={"id": got(1, "HostedZone", "Id")},
    ),
    Recipe(
        "route53-find-delete",
        _SLOTS,
        (
            "delete the hosted zone {zone}",
            "find the Route 53 zone {zone} and remove it",
            "get rid of the DNS zone {zone}",
            "look up the hosted zone for {zone} and throw it away",
            "stop hosting {zone}: its zone has to go",
        ),
        (_FIND, Do("route53.DeleteHostedZone", {"Id": "{id}"}, "I delete the zone {id}.")),
        (_GONE, _OTHER_STANDS),
        "The zone {zone} is gone.",
        setup=(_OTHER, _ZONE),
        refs=_FOUND,
    ),
)
