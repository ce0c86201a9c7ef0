select source_namespace, destination_namespace, verdict, sum(count) as verdicts, sum(bytes + reply_bytes) as bytes
from flows
where time > now() - interval '1 hour'
group by all
order by verdicts desc
limit 200
