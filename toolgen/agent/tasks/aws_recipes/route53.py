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
            "provision a fresh hosted zone named {zone}; its caller reference is {zone}, too",
            "start a Route 53 hosted zone for {zone}, using {zone} as caller reference as well",
            "spin up {zone} as a new DNS zone with the name itself as caller reference",
            "get us an additional hosted zone for {zone}, and let it serve as the caller reference",
            "see to it that there is a hosted zone {zone} whose caller reference equals its name",
            "establish {zone} as one more Route 53 zone of ours, with the same text as caller reference",
            "have a hosted zone created for the domain {zone}, caller reference {zone} again",
            "register the new zone {zone} with Route 53 under the caller reference {zone}",
            "build a DNS zone, call it {zone}, and give it its own name as caller reference",
            "open a hosted zone for the domain {zone}; use that name for the caller reference, too",
            "provide the Route 53 zone {zone}, with {zone} for a caller reference",
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
            "throw the Route 53 zone {id} away",
            "destroy the hosted zone that has the id {id}",
            "tear down the DNS zone whose id reads {id}",
            "scrap the Route 53 zone identified by {id}",
            "discard the hosted zone with this id: {id}",
            "retire the DNS zone under the id {id} for good",
            "clean up the Route 53 zone behind the id {id}, that is, delete it",
            "see to it that the hosted zone {id} is gone",
            "erase the hosted zone to which the id {id} belongs",
            "dispose of the old DNS zone with the id {id}",
            "take down the hosted zone {id}, but no other",
            "eliminate the Route 53 zone {id} altogether",
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
            'note at the hosted zone {zone}: "{text}"',
            'update the comment of the Route 53 zone {zone}; it must read "{text}"',
            'put the comment "{text}" on the hosted zone {zone}',
            'give the DNS zone {zone} the comment "{text}"',
            'write a comment to the hosted zone named {zone}, namely "{text}"',
            'add to the Route 53 zone {zone} a comment that says "{text}"',
            'attach the words "{text}" as a comment to our hosted zone {zone}',
            'modify the hosted zone for {zone}: its comment becomes "{text}"',
            'replace the comment on the Route 53 zone {zone} by "{text}"',
            'see to it that the DNS zone {zone} has "{text}" for its comment',
            'use "{text}" as the new comment of the hosted zone {zone}',
            'search our hosted zones for {zone} and make "{text}" its comment',
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
            "create the A record www.{zone} in the existing zone, with the value {address} and a TTL of 300",
            "make www.{zone} resolve to {address} by a new A record, TTL 300, in our hosted zone {zone}",
            "set up an A record in the Route 53 zone {zone}: www.{zone}, {address}, TTL 300 seconds",
            "put www.{zone} into the existing DNS zone {zone}, an A record with {address} and 300 seconds to live",
            "register {address} as the address of www.{zone} in our hosted zone, record type A, TTL 300",
            "see to it that the hosted zone {zone} has an A record www.{zone} for {address}, TTL 300",
            "enter an A record for www.{zone} in our Route 53 zone, {address} with a TTL of 300 seconds",
            "direct www.{zone} to the address {address} in our DNS zone {zone} (A record, TTL 300)",
            "provide the existing zone {zone} with www.{zone} as an A record of TTL 300 that leads to {address}",
            "insert www.{zone}, type A, TTL 300, value {address}, into the hosted zone {zone} that we have",
            "map www.{zone} to {address} in the Route 53 zone {zone}: one new A record that lives 300 seconds",
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
            "provision a hosted zone {zone}, caller reference {zone}, plus an A record www.{zone}: {address}, TTL 300",
            "spin up {zone} as a Route 53 zone, also as caller reference; map www.{zone} to {address} (A, TTL 300)",
            "get us a new DNS zone {zone} (caller reference {zone}) with www.{zone} as A record {address}, TTL 300",
            "establish the hosted zone {zone}, its name being the caller reference; www.{zone}, A, TTL 300: {address}",
            "build a zone {zone}, caller reference {zone}, and enter the A record www.{zone} for {address}, TTL 300",
            "prepare a new hosted zone {zone}, caller reference {zone}; direct www.{zone} to {address}, A, TTL 300",
            "see to it that a new zone {zone}, caller reference {zone}, has an A record www.{zone} {address}, TTL 300",
            "start a Route 53 zone {zone} (caller reference {zone}); make www.{zone} resolve to {address}, TTL 300",
            "register the zone {zone}, caller reference {zone}, with Route 53; www.{zone} is A, TTL 300, {address}",
            "have a zone {zone} created (caller reference {zone}) with A record www.{zone} in it: {address}, TTL 300",
            "add a DNS zone {zone}, also its caller reference, and in it www.{zone}: type A, 300 seconds, {address}",
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
            "find the Route 53 zone {zone} and remove it",
            "look up the hosted zone for {zone} and throw it away",
            "stop hosting {zone}: its zone has to go",
            "delete the hosted zone for the domain {zone}",
            "get rid of our DNS zone {zone}",
            "destroy the Route 53 zone named {zone}",
            "tear down the hosted zone for {zone}",
            "scrap the DNS zone named {zone}, since nobody asks for it",
            "discard {zone}, a hosted zone that we no longer need",
            "retire the hosted zone of the domain {zone}",
            "clean up by deleting our hosted zone called {zone}",
            "see to it that the hosted zone {zone} ceases to exist",
            "erase the zone {zone} from Route 53",
            "dispose of the DNS zone for the domain {zone}",
            "take down the hosted zone {zone}; all other zones stay",
            "search our hosted zones for {zone} and delete that one",
        ),
        (_FIND, Do("route53.DeleteHostedZone", {"Id": "{id}"}, "I delete the zone {id}.")),
        (_GONE, _OTHER_STANDS),
        "The zone {zone} is gone.",
        setup=(_OTHER, _ZONE),
        refs=_FOUND,
    ),
)
